//! One client's connection: its one line, the file descriptor beside it, and who it is.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::protocol::{ASK_LIMIT, Answer};

/// A client that has not sent its line by then is gone.
const TO_ASK: Duration = Duration::from_secs(10);
/// A client that does not read for so long is gone.
const TO_READ: Duration = Duration::from_secs(10);
/// A file of which nothing comes for so long has ended.
const TO_COME: Duration = Duration::from_mins(1);
/// What a pipe takes without waiting.
const PIECE: usize = 4096;

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Asks the kernel who is at the other end.
pub(super) fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let peer = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(Peer {
        uid: peer.uid(),
        gid: peer.gid(),
    })
}

/// Reads the one line and the first descriptor that comes with it; further ones are closed.
pub(super) fn read(stream: &UnixStream) -> Result<(String, Option<OwnedFd>), String> {
    read_within(stream, TO_ASK)
}

fn read_within(stream: &UnixStream, time: Duration) -> Result<(String, Option<OwnedFd>), String> {
    let deadline = Instant::now() + time;
    let mut bytes = Vec::new();
    let mut file = None;
    let mut piece = vec![0; PIECE];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no request came in time".to_owned());
        }
        let patience = stream.set_read_timeout(Some(left));
        patience.map_err(|error| error.to_string())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            stream,
            &mut [IoSliceMut::new(&mut piece)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        );
        let count = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => return Err("no request came in time".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                for one in files {
                    file.get_or_insert(one);
                }
            }
        }
        if count == 0 {
            return Err("the connection ended before the request did".to_owned());
        }
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.truncate(end);
            let line = String::from_utf8(bytes);
            let line = line.map_err(|_| "the request is not text".to_owned())?;
            return Ok((line, file));
        }
        if bytes.len() > ASK_LIMIT {
            return Err("the request is too long".to_owned());
        }
    }
}

/// Sends a line of the answer.
pub(super) fn send(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    stream.set_write_timeout(Some(TO_READ))?;
    stream.write_all(answer.to_line().as_bytes())
}

/// Returns a file that ends where the client's does, or where nothing comes of that for too long:
/// whoever reads it can never be held up for ever.
pub(super) fn patient(from: OwnedFd) -> io::Result<File> {
    let (reader, mut writer) = io::pipe()?;
    let mut from = File::from(from);
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let mut piece = vec![0; 64 * 1024];
            while is_ready(&from, PollFlags::POLLIN) {
                let count = match from.read(&mut piece) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => count,
                };
                let bytes = piece.get(..count).unwrap_or_default();
                if writer.write_all(bytes).is_err() {
                    return;
                }
            }
        })?;
    Ok(File::from(OwnedFd::from(reader)))
}

/// Writes all of something to a client's file, which must take a piece of it within the time.
pub(super) fn write_patiently(to: OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let mut to = File::from(to);
    for piece in bytes.chunks(PIECE) {
        if !is_ready(&to, PollFlags::POLLOUT) {
            return Err(io::Error::other("nobody takes what is written"));
        }
        to.write_all(piece)?;
    }
    to.flush()
}

fn is_ready(file: &File, what: PollFlags) -> bool {
    use std::os::fd::AsFd;
    let patience = PollTimeout::try_from(TO_COME).unwrap_or(PollTimeout::MAX);
    let mut files = [PollFd::new(file.as_fd(), what)];
    loop {
        match poll(&mut files, patience) {
            Ok(count) => return count > 0,
            Err(nix::Error::EINTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long anything may take on a machine that has much else to do.
    const LONG: Duration = Duration::from_mins(1);

    fn said(bytes: &[u8]) -> Result<String, String> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let bytes = bytes.to_vec();
        let client = std::thread::spawn(move || {
            let _ = theirs.write_all(&bytes);
        });
        let read = read_within(&ours, LONG);
        drop(ours);
        client.join().unwrap();
        read.map(|(line, _)| line)
    }

    #[test]
    fn a_line_is_read_and_what_is_none_is_refused() {
        assert_eq!(
            said(b"{\"do\":\"status\"}\nmore"),
            Ok("{\"do\":\"status\"}".to_owned())
        );
        assert!(said(b"").unwrap_err().contains("ended before"));
        assert!(said(b"{\"do\":").unwrap_err().contains("ended before"));
        assert!(said(b"\xff\xfe\n").unwrap_err().contains("not text"));
        let long = vec![b'x'; ASK_LIMIT * 4];
        assert!(said(&long).unwrap_err().contains("too long"));
    }

    #[test]
    fn a_client_that_sends_byte_after_byte_has_its_time_and_no_more() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let client = std::thread::spawn(move || {
            while theirs.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let begun = Instant::now();
        let error = read_within(&ours, Duration::from_millis(200)).unwrap_err();
        assert!(error.contains("in time"), "{error}");
        assert!(begun.elapsed() < LONG);
        drop(ours);
        client.join().unwrap();
    }

    #[test]
    fn what_a_client_hands_over_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut file = patient(reader.into()).unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "half");
    }

    #[test]
    fn what_is_written_arrives_whole() {
        let (mut reader, writer) = io::pipe().unwrap();
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || write_patiently(writer.into(), &sent));
        let mut came = Vec::new();
        reader.read_to_end(&mut came).unwrap();
        sender.join().unwrap().unwrap();
        assert!(came == bytes);
    }
}
