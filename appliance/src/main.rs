//! The weir binary: daemon, workers, control and command line.

mod apply;
mod bench;
mod board;
mod capacity;
mod capture;
mod cli;
mod clock;
mod command;
mod configuration;
mod control;
mod daemon;
mod defence;
mod doctor;
mod doorbell;
mod drain;
mod event;
mod explain;
mod export;
mod failure;
mod fleet;
mod handoff;
mod health;
mod idle;
mod import;
mod ipvsadm;
mod log;
mod metrics;
mod output;
mod overrides;
mod publish;
mod secret;
mod show;
mod state;
mod support;
mod taken;
#[cfg(test)]
mod testing;
mod worker;

fn main() -> std::process::ExitCode {
    if health::runner::is_child() {
        return match health::runner::be_child() {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the process that runs programs cannot begin: {error}");
                std::process::ExitCode::FAILURE
            }
        };
    }
    cli::main()
}
