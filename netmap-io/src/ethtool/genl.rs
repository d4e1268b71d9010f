//! `ETHTOOL_MSG_RSS_GET` over generic netlink, which kernels know from 6.2 on.

use std::fmt::Debug;
use std::io;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_F_NESTED, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator, Parseable,
    ParseableParametrized,
};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

use super::rss::Indirection;

const RSS_GET: u8 = 38;
/// Attributes of a request's header.
const HEADER_DEV_NAME: u16 = 2;
/// Attributes of the message.
const HEADER: u16 = 1;
const FUNCTION: u16 = 3;
const TABLE: u16 = 4;
const KEY: u16 = 5;
const TRANSFORM: u16 = 6;

/// Asks the kernel how a device spreads frames over its queues.
pub(super) fn indirection(device: &str) -> io::Result<Indirection> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(RssGet::family_name().to_owned())],
    });
    let family = ask(&socket, family)?;
    let id = family.payload.nlas.iter().find_map(|nla| match nla {
        GenlCtrlAttrs::FamilyId(id) => Some(*id),
        GenlCtrlAttrs::FamilyName(_)
        | GenlCtrlAttrs::Version(_)
        | GenlCtrlAttrs::HdrSize(_)
        | GenlCtrlAttrs::MaxAttr(_)
        | GenlCtrlAttrs::Ops(_)
        | GenlCtrlAttrs::McastGroups(_)
        | GenlCtrlAttrs::Policy(_)
        | GenlCtrlAttrs::OpPolicy(_)
        | GenlCtrlAttrs::Op(_) => None,
    });
    let id = id.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
    let mut question = GenlMessage::from_payload(RssGet::of(device));
    question.set_resolved_family_id(id);
    ask(&socket, question).map(|answer| answer.payload.indirection())
}

/// The attributes of a request or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RssGet {
    attributes: Vec<DefaultNla>,
}

impl RssGet {
    fn of(device: &str) -> Self {
        let mut name = device.as_bytes().to_vec();
        name.push(0);
        let name = DefaultNla::new(HEADER_DEV_NAME, name);
        let mut header = vec![0; name.buffer_len()];
        name.emit(&mut header);
        Self {
            attributes: vec![DefaultNla::new(HEADER | NLA_F_NESTED, header)],
        }
    }

    fn indirection(&self) -> Indirection {
        use netlink_packet_core::Nla as _;

        let mut found = Indirection::default();
        for attribute in &self.attributes {
            let mut value = vec![0; attribute.value_len()];
            attribute.emit_value(&mut value);
            let (words, _) = value.as_chunks::<4>();
            let mut words = words.iter().map(|word| u32::from_ne_bytes(*word));
            match attribute.kind() {
                FUNCTION => found.function = words.next().unwrap_or_default(),
                TRANSFORM => found.transform = words.next().unwrap_or_default(),
                TABLE => found.table = words.collect(),
                KEY => found.key = value,
                _ => {}
            }
        }
        found
    }
}

impl GenlFamily for RssGet {
    fn family_name() -> &'static str {
        "ethtool"
    }

    fn command(&self) -> u8 {
        RSS_GET
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for RssGet {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for RssGet {
    fn parse_with_param(bytes: &[u8], _: GenlHeader) -> Result<Self, DecodeError> {
        let attributes = NlasIterator::new(bytes)
            .map(|nla: Result<NlaBuffer<&[u8]>, _>| DefaultNla::parse(&nla?))
            .collect::<Result<_, _>>()?;
        Ok(Self { attributes })
    }
}

/// Sends one request and takes its one answer.
fn ask<F>(socket: &Socket, question: GenlMessage<F>) -> io::Result<GenlMessage<F>>
where
    F: GenlFamily + Debug,
    GenlMessage<F>: NetlinkSerializable + NetlinkDeserializable,
{
    let mut message = NetlinkMessage::from(question);
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let (datagram, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<GenlMessage<F>>::deserialize(&datagram)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(inner) => Ok(inner),
        NetlinkPayload::Error(error) => {
            let code = error.code.map_or(libc::EPROTO, |code| -code.get());
            Err(io::Error::from_raw_os_error(code))
        }
        NetlinkPayload::Noop | NetlinkPayload::Done(_) | NetlinkPayload::Overrun(_) | _ => {
            Err(io::Error::from_raw_os_error(libc::EPROTO))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_kernel_is_read_and_what_is_new_in_it_is_passed_over() {
        let attribute = |kind: u16, value: &[u8]| {
            let nla = DefaultNla::new(kind, value.to_vec());
            let mut bytes = vec![0; nla.buffer_len()];
            nla.emit(&mut bytes);
            bytes
        };
        let table: Vec<u8> = [0_u32, 1, 2, 3]
            .iter()
            .flat_map(|n| n.to_ne_bytes())
            .collect();
        let answer = [
            attribute(
                HEADER | NLA_F_NESTED,
                &attribute(HEADER_DEV_NAME, b"eth0\0"),
            ),
            attribute(FUNCTION, &1_u32.to_ne_bytes()),
            attribute(TABLE, &table),
            attribute(KEY, &[7; 41]),
            attribute(99, b"of tomorrow"),
        ]
        .concat();
        let header = GenlHeader {
            cmd: RSS_GET,
            version: 1,
        };
        let read = RssGet::parse_with_param(&answer, header).unwrap();
        let expected = Indirection {
            key: vec![7; 41],
            table: vec![0, 1, 2, 3],
            function: 1,
            transform: 0,
        };
        assert_eq!(read.indirection(), expected);
        assert!(RssGet::parse_with_param(&answer[..answer.len() - 5], header).is_err());
    }

    #[test]
    fn the_kernel_knows_the_family_and_that_a_device_is_not_there() {
        let refused = indirection("weir-no-such").unwrap_err();
        // A kernel before 6.2 does not know the question.
        let expected = [libc::ENODEV, libc::EOPNOTSUPP];
        assert!(
            expected.contains(&refused.raw_os_error().unwrap()),
            "{refused}"
        );
    }
}
