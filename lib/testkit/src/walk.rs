//! Walk scripts: what goes in, what must come out, what moved. One file, one story.
//!
//! ```text
//! config ../conf/web.conf                  # from the walk's own folder
//! 0.000  client > vip:80   S   C:C(0)         win 64240 <mss 1460,sackOK,ts A 0,wscale 7>
//! +0     lip > real:80     S   L:L(0)         win 64240 <toa client,mss 1452,sackOK,ts T 0,wscale 7>
//! +.001  lip < real:80     S.  S:S(0) ack L+1 win 65160 <mss 1460,sackOK,ts B T,wscale 7>
//! +0     client < vip:80   S.  S:S(0) ack C+1 win 65160 <mss 1460,sackOK,ts B A,wscale 7>
//! moved  rx 2, tx 2, session-opened 1, mss-clamped 1, toa-inserted 1
//! ```
//!
//! **Time** comes first: `0.5` since the start, `+.5` since the line before. A frame that must come
//! out has to leave at that time or up to `tolerance` later, in the order of the lines, and no other
//! frame may leave.
//!
//! **Faces** are `client`, `vip`, `lip` and `real`; `vip2`, `lip2`, `real2` are the next ones of the
//! configuration; `client2`, `router` (in front of the clients) and `switch` (in front of the real
//! servers) exist too, a port's name stands for its own address, and `face NAME ADDRESS[:PORT]` makes
//! more. What Weir's addresses send must come out, what others send goes in. A LIP's port is bound
//! by its first mention; `lip:P` gives it a name.
//!
//! **Packets** are `FLAGS seq:end(length) [ack N] [win N] [<options>]`, `udp (length)`,
//! `icmp MESSAGE [id N seq N] [mtu N] [(length)] [[quoted packet]]`, `proto N (length)`. Frames of
//! a port: `wan > arp who-has A tell B`, `wan > arp reply A is-at M to B`, `wan > raw HEX`. Behind that may stand
//! `ttl N`, `tos N`, `id N`, `df`, `nodf`, `vlan TCI`, `sum bad|partial|none|0xN`, `worker N`,
//! `pad N`, `cut N`, `frag N[+]`, `port NAME`, `total N`, `mac M`, `ipopts HEX`. A payload of n bytes is the
//! pattern of that length; `of A+B at N` says that it stands in the patterns of A and B bytes, one behind the
//! other, from byte N on.
//!
//! **Numbers** are absolute. A name is bound by its first mention, to what the packet has, or, in
//! a packet that goes in, to any number; `let C = 0xffffff00` binds it by hand. No options in a line
//! means that there are none; `<*>` means whichever. Padding counts where the line writes `nop`.
//!
//! **The world** is made by lines in front of the first packet: `config FILE`, `workers N`, `table N`
//! (sessions per worker), `mtu N`, `delivers` (drivers have a way to the host), `neighbours silent`,
//! `tolerance SECONDS`, `seed N`, `uptime MS`, `wall MS`.
//!
//! **Between packets**: `moved LIST` says all that moved since the `moved` before, and must come
//! last; `sessions N`, `state NAME`, `ports N` ask; `check A after B`, `==`, `!=` compare;
//! `TIME nothing` lets time pass; `apply FILE`, `drain`, `introduce FACE` act. What ARP the world
//! itself plays is not counted, unless `neighbours silent` says that it plays none.
//!
//! **SYNPROXY**: `TIME flood N syn|ack|fin|rst|udp > FACE [from NET] [sport N] [over SECONDS] [worker N]` sends
//! N packets from random addresses and ports and swallows what is sent on account of them. `secret HEX` sets the
//! master key of all cookies, `offer FACE [mss N] [wscale N] [sack] [ts]` is what was learned of a service's
//! real servers, `real-down FACE` and `real-up FACE` are what a health check found, `skew MS` moves the wall clock
//! alone, and `restart` goes on with directors that remember nothing. `flooded FACE LIST` says what a
//! service's SYNs have come to since the start, and `events LIST` what was told since the `events` before.

mod build;
mod flood;
mod meet;
mod options;
mod play;
mod script;
mod value;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Plays a walk.
///
/// # Errors
///
/// Says file, line, what was expected and what came.
pub fn play(path: &Path) -> Result<()> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.display().to_string();
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    play::play(&name, folder, &text)
}

/// Plays the text of a walk; `folder` is where its configuration is looked for.
///
/// # Errors
///
/// Says line, what was expected and what came.
pub fn play_text(name: &str, folder: &Path, text: &str) -> Result<()> {
    play::play(name, folder, text)
}

/// Finds every walk below a folder, sorted.
///
/// # Errors
///
/// When a folder cannot be read or there is no walk.
pub fn find(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "walk") {
                found.push(path);
            }
        }
    }
    ensure!(!found.is_empty(), "no walk below {}", folder.display());
    found.sort();
    Ok(found)
}
