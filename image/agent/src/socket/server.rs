//! The socket itself: who may come in, and how many at once.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::stream::{self, Peer};
use super::{answer, stream::peer};
use crate::handle::Handle;
use crate::protocol::{Answer, Ask};

/// The group of operators; its account has the same number.
pub(super) const OPERATORS: u32 = 200;
/// So many clients are served at once; the next one is told so.
const MOST: usize = 16;
/// The name of the socket's file.
const FILE: &str = "agent.sock";

/// Opens the socket, and serves whoever connects from threads of its own.
pub(crate) fn listen(handle: &Handle) -> io::Result<()> {
    let path = handle.places().run.join(FILE);
    let listener = open(&path)?;
    let handle = handle.clone();
    let served = Arc::new(AtomicUsize::new(0));
    thread::Builder::new()
        .name("socket".to_owned())
        .spawn(move || {
            loop {
                match listener.accept() {
                    Ok((stream, _)) => take(&handle, stream, &served),
                    // Too many files are open: they are closed again some time.
                    Err(_) => thread::sleep(Duration::from_millis(200)),
                }
            }
        })?;
    Ok(())
}

fn open(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // Whoever comes before this is asked who it is all the same.
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    if nix::unistd::geteuid().is_root() {
        chown(path, Some(0), Some(OPERATORS))?;
    }
    Ok(listener)
}

/// A place among those that are served, given back at the end.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn take(handle: &Handle, stream: UnixStream, served: &Arc<AtomicUsize>) {
    let before = served.fetch_add(1, Ordering::AcqRel);
    let place = Place(Arc::clone(served));
    if before >= MOST {
        let sentence = "too many requests are under way; try again".to_owned();
        let _ = stream.set_nonblocking(true);
        let _ = stream::send(&stream, &Answer::Error(sentence));
        return;
    }
    let handle = handle.clone();
    let spawned = thread::Builder::new()
        .name("client".to_owned())
        .spawn(move || {
            let _place = place;
            serve(&handle, &stream);
        });
    // Without memory for a thread the client is gone, and the place is free.
    drop(spawned);
}

fn admits(peer: Peer) -> bool {
    peer.uid == 0 || peer.gid == OPERATORS || peer.uid == nix::unistd::geteuid().as_raw()
}

fn serve(handle: &Handle, stream: &UnixStream) {
    let answered = match peer(stream) {
        Ok(peer) if admits(peer) => asked(handle, stream, peer),
        Ok(_) => Err("this is for operators".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let (last, order) = match answered {
        Ok(order) => (Answer::Done(true), order),
        Err(sentence) => (Answer::Error(sentence), None),
    };
    let _ = stream::send(stream, &last);
    // After the answer: the box may be about to end.
    if let Some(order) = order {
        handle.order(order);
    }
}

fn asked(
    handle: &Handle,
    stream: &UnixStream,
    peer: Peer,
) -> Result<Option<crate::handle::Order>, String> {
    let (line, file) = stream::read(stream)?;
    let ask: Ask =
        serde_json::from_str(&line).map_err(|error| format!("this is no request: {error}"))?;
    let asker = answer::Asker::of(&ask, peer);
    let mut say = |answer: Answer| {
        // Whoever does not listen any more has asked all the same.
        let _ = stream::send(stream, &answer);
    };
    answer::answer(handle, ask.request, file, &asker, &mut say)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::{Message, Order};
    use crate::keys::Keys;
    use crate::places::Places;
    use crate::protocol::Request;
    use crate::socket::client::{Failure, ask_at};
    use crate::testing::Folder;
    use crate::words::Words;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::mpsc::{Receiver, channel};
    use weir_control::{Login, Role};

    const ALICE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";

    fn agent(folder: &Folder) -> (Handle, PathBuf, Receiver<Message>) {
        let places = Places::under(folder.path());
        for path in [&places.run, &places.proc, &places.shared()] {
            fs::create_dir_all(path).unwrap();
        }
        let (orders, ordered) = channel();
        let handle = Handle::new(places, Words::parse("weir.slot=a"), orders);
        listen(&handle).unwrap();
        let path = handle.places().run.join(FILE);
        (handle, path, ordered)
    }

    fn ask(path: &Path, request: Request) -> Result<Vec<serde_json::Value>, Failure> {
        let ask = Ask {
            request,
            name: Login::try_from("alice".to_owned()).ok(),
            from: "192.0.2.1".parse().ok(),
        };
        ask_at(path, &ask, None, &mut |_| {})
    }

    #[test]
    fn a_key_is_added_listed_and_not_removed_when_it_is_the_last_one() {
        let folder = Folder::new("socket-keys");
        let (handle, path, ordered) = agent(&folder);
        let add = Request::KeyAdd {
            role: Role::Operator,
            key: ALICE.to_owned(),
        };
        ask(&path, add.clone()).unwrap();
        assert!(matches!(
            ordered.recv_timeout(Duration::from_mins(1)),
            Ok(Message::Order(Order::Changed))
        ));
        assert_eq!(Keys::load(handle.places()).0.count(), 1);
        let rows = ask(&path, Request::KeyList).unwrap();
        assert_eq!(rows[0]["name"], "alice");
        let error = ask(&path, add).unwrap_err().to_string();
        assert!(error.contains("there already"), "{error}");
        let remove = |last| Request::KeyRemove {
            role: Role::Operator,
            key: "alice".to_owned(),
            last,
        };
        let error = ask(&path, remove(false)).unwrap_err().to_string();
        assert!(error.contains("--last"), "{error}");
        ask(&path, remove(true)).unwrap();
        let said = handle.events().oldest(Duration::ZERO).unwrap();
        assert_eq!(said.code, "key-added");
        assert_eq!(said.fields[0], ("by", "alice".to_owned()));
    }

    #[test]
    fn the_box_starts_again_after_the_answer_and_under_a_name() {
        let folder = Folder::new("socket-reboot");
        let (handle, path, ordered) = agent(&folder);
        ask(&path, Request::Reboot).unwrap();
        assert!(matches!(
            ordered.recv_timeout(Duration::from_mins(1)),
            Ok(Message::Order(Order::Reboot))
        ));
        let said = handle.events().oldest(Duration::ZERO).unwrap();
        assert_eq!((said.code, said.fields[0].1.as_str()), ("power", "alice"));
    }

    #[test]
    fn clients_that_only_wait_take_no_more_than_their_places_and_nobody_elses_time() {
        let folder = Folder::new("socket-slow");
        let (_handle, path, _ordered) = agent(&folder);
        let idle: Vec<UnixStream> = (0..MOST - 1)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        // One place is left, and it is enough.
        assert!(ask(&path, Request::KeyList).is_ok());
        // The place of who was just answered is free a moment later.
        let mut wedges = Vec::new();
        let busy = (0..100).find_map(|_| {
            let mut wedge = UnixStream::connect(&path).unwrap();
            // One that finds no place is gone already.
            let _ = wedge.write_all(b"{\"do\":");
            wedges.push(wedge);
            thread::sleep(Duration::from_millis(20));
            ask(&path, Request::KeyList).err().map(|it| it.to_string())
        });
        // The client may see the end of the connection before the sentence.
        assert!(busy.is_some(), "{busy:?}");
        drop(idle);
        drop(wedges);
        let again = (0..1_000).any(|_| {
            thread::sleep(Duration::from_millis(50));
            ask(&path, Request::KeyList).is_ok()
        });
        assert!(again);
    }

    #[test]
    fn what_is_no_request_is_answered_with_a_sentence() {
        let folder = Folder::new("socket-hostile");
        let (_handle, path, _ordered) = agent(&folder);
        for line in ["{}\n", "[1]\n", "\n", "{\"do\":\"shell\"}\n", "\u{0}\n"] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            let mut text = String::new();
            io::Read::read_to_string(&mut stream, &mut text).unwrap();
            assert!(
                text.starts_with("{\"error\":\"this is no request"),
                "{text}"
            );
        }
        let error = ask(&path, Request::Backup).unwrap_err().to_string();
        assert!(error.contains("no file"), "{error}");
    }

    #[test]
    fn others_than_root_and_operators_are_not_admitted() {
        let peer = |uid, gid| Peer { uid, gid };
        assert!(admits(peer(0, 0)));
        assert!(admits(peer(200, OPERATORS)));
        assert!(!admits(peer(201, 201)) && !admits(peer(65_534, 65_534)));
    }
}
