//! Moves every frame of the owned addresses from one device to the other, unchanged: a wire, and
//! the floor of what forwarding costs.
//!
//! `forward <device> <device> --owned <addresses of both ends> [--driver af-xdp] [--queues 2]`

#[path = "support/run.rs"]
mod run;

use std::process::ExitCode;

use netmap_io::{Burst, FramePool, Port};

fn main() -> ExitCode {
    let outcome = run::Arguments::read(2).and_then(|arguments| arguments.run(turn));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("forward: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn turn(ports: &mut [Box<dyn Port>], pool: &mut FramePool, burst: &mut Burst) -> usize {
    let [left, right] = ports else {
        return 0;
    };
    let forth = pass(left.as_mut(), right.as_mut(), pool, burst);
    let back = pass(right.as_mut(), left.as_mut(), pool, burst);
    forth + back
}

fn pass(from: &mut dyn Port, to: &mut dyn Port, pool: &mut FramePool, burst: &mut Burst) -> usize {
    let taken = from.rx(pool, burst);
    for frame in burst.drain() {
        if let Err(frame) = to.tx(pool, frame) {
            // The other side is full: lost, as on any wire.
            pool.free(frame);
        }
    }
    // An error of the device shows in the figures.
    let _ = to.flush(pool);
    taken
}
