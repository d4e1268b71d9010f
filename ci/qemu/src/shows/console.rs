//! The console: on the serial line, over SSH, as viewer and as operator.

use anyhow::{Result, ensure};
use weir_lab::scenario::Run;
use weir_lab::tmux::Tmux;

use super::{Appliance, CONSOLE, PATIENCE, login};
use crate::site::MANAGEMENT;
use crate::ssh::Person;

const SIZE: (u16, u16) = (80, 24);
const LARGER: (u16, u16) = (120, 36);

pub(super) fn run(run: &mut Run, appliance: &mut Appliance) -> Result<()> {
    run.check("image: the serial console asks for its size", || {
        let serial = &appliance.guest()?.serial;
        let screen = serial.wait("a console", PATIENCE, |it| it.contains(CONSOLE))?;
        ensure!(serial.asked() > 0, "nobody asked:\n{screen}");
        let lines = screen.lines().count();
        ensure!(lines == usize::from(SIZE.1), "{lines} lines:\n{screen}");
        ensure!(screen.contains("viewer"), "it is not a viewer's:\n{screen}");
        Ok(format!("{} times, and uses all lines", serial.asked()))
    });
    let site = &appliance.site;
    let line = site.operator.log_in().replacen("ssh ", "ssh -tt ", 1);
    let tmux = Tmux::start(&site.lab, &site.desk, SIZE, "xterm-256color", &line)?;
    run.check("image: the operator's console over SSH", || {
        // It says who somebody is when the daemon has answered.
        tmux.wait("the console of lena", PATIENCE, |it| {
            it.contains(CONSOLE) && it.contains("operator lena")
        })?;
        Ok("80x24, as operator lena".to_owned())
    });
    run.check("image: it follows the terminal's size", || {
        tmux.resize(LARGER)?;
        let wide = |screen: &str| {
            let columns = screen.lines().map(|it| it.trim_end().chars().count()).max();
            let last = screen.trim_end().lines().count();
            columns > Some(usize::from(SIZE.0)) && last > usize::from(SIZE.1)
        };
        tmux.wait("all of a larger window", PATIENCE, wide)?;
        Ok(format!("{}x{}", LARGER.0, LARGER.1))
    });
    tmux.keys("q")?;
    drop(tmux);
    run.check("image: a viewer sees and cannot change", || {
        let viewer = &site.viewer;
        viewer.json("show services --json")?;
        let conf = appliance.configuration("");
        let said = [
            viewer.refused("apply -", &conf)?,
            viewer.refused("drain web", "")?,
            viewer.refused("update -", "")?,
            viewer.refused("sh -c id", "")?,
            viewer.refused("key list", "")?,
        ];
        ensure!(
            !said.iter().any(|it| it.contains("uid=")),
            "a shell ran: {said:?}"
        );
        Ok(format!("{} verbs were refused", said.len()))
    });
    run.check("image: an operator has verbs and no shell", || {
        let said = site.operator.refused("sh -c id", "")?;
        ensure!(!said.contains("uid="), "{said}");
        let said = site.operator.refused("show status; id", "")?;
        ensure!(!said.contains("uid="), "{said}");
        Ok("neither by name nor behind a semicolon".to_owned())
    });
    run.check("image: `apply` of a file on the standard input", || {
        let more = "[service alt]\nlisten = 10.80.0.100:8080/tcp\nlip-pool = blue\n\
                    scheduler = rr\nreal = 10.81.0.11:80\n";
        let conf = appliance.configuration(more);
        site.operator.run_with_input("diff -", &conf)?;
        site.operator.run_with_input("apply -", &conf)?;
        let services = site.viewer.run("show services --json")?;
        ensure!(services.contains("\"alt\""), "{services}");
        appliance.told("applied", "lena")
    });
    run.check(
        "image: who has no key is not let in, and it is told",
        || {
            let address = MANAGEMENT.to_string();
            let stranger = Person::new("operator", "mallory", &site.desk, &address, site.dir())?;
            stranger.refused("show status", "")?;
            appliance.told("login-failed", "")
        },
    );
    run.check("image: every login is told with the key's name", || {
        for name in [site.operator.name, site.viewer.name] {
            appliance.told("login", name)?;
        }
        Ok("lena and vic".to_owned())
    });
    // Last: whoever is refused here is told of, too.
    login::run(run, site);
    Ok(())
}
