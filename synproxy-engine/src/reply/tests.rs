use core::net::Ipv4Addr;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use weir_wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthAddr, Ipv4Repr, KindSet, OptionSummary, Parsed, SeqNumber,
    SynOptions, TcpHeader, TcpOption, TcpOptions, TcpRepr, Timestamps, VlanTag, fill_checksums,
    verify_frame,
};

use super::*;
use crate::Cookie;

const THEIRS: EthAddr = EthAddr([2; 6]);
const OURS: EthAddr = EthAddr([4; 6]);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1);
const COOKIE: Cookie = Cookie(0xdead_beef);
const OFFERED: Offered = Offered {
    mss: 1440,
    wscale: Some(7),
    sack: true,
    tsval: Some(1000),
    window: 16384,
};

fn syn() -> TcpRepr {
    TcpRepr {
        src_port: 40_000,
        dst_port: 443,
        seq: SeqNumber(u32::MAX),
        flags: TcpFlags::SYN,
        window: 64240,
        ..TcpRepr::default()
    }
}

/// A frame with a SYN of IPv4, its options as they are.
#[derive(Debug)]
struct Frame {
    vlan: bool,
    ip_options: Vec<u8>,
    tcp_options: Vec<u8>,
    payload: Vec<u8>,
    padding: usize,
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let (syn, tcp_len) = (syn(), TcpHeader::LEN + self.tcp_options.len());
        let mut tcp = vec![0; TcpHeader::LEN];
        syn.emit(&mut tcp).unwrap();
        let header = TcpHeader::at_mut(&mut tcp, 0).unwrap();
        header.set_header_len(tcp_len);
        header.set_flags(TcpFlags::SYN | TcpFlags::ECE | TcpFlags::CWR);
        let l4 = [tcp, self.tcp_options.clone(), self.payload.clone()].concat();

        let mut ip = vec![0; Ipv4Header::LEN];
        let repr = Ipv4Repr {
            src: CLIENT,
            dst: VIP,
            protocol: Protocol::TCP,
            ttl: 51,
            tos: 3,
            ident: 9,
            dont_fragment: false,
            payload_len: (self.ip_options.len() + l4.len()) as u16,
        };
        repr.emit(&mut ip).unwrap();
        ip[0] += (self.ip_options.len() / 4) as u8;
        let eth = if self.vlan {
            let tag = [0x81, 0, 0x20, 5, 8, 0];
            [&[4; 6][..], &[2; 6], &tag].concat()
        } else {
            [&[4; 6][..], &[2; 6], &[8, 0]].concat()
        };
        let mut frame = [eth, ip, self.ip_options.clone(), l4].concat();
        fill_checksums(&mut frame).unwrap();
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }
}

fn plain(repr: &TcpRepr) -> Vec<u8> {
    let mut tcp = vec![0; repr.buffer_len()];
    repr.emit(&mut tcp).unwrap();
    let frame = Frame {
        vlan: false,
        ip_options: Vec::new(),
        tcp_options: tcp.split_off(TcpHeader::LEN),
        payload: Vec::new(),
        padding: 0,
    };
    frame.bytes()
}

/// Answers the SYN in `frame`, which may be followed by `room` bytes; returns the SYN-ACK.
fn answer(frame: &[u8], room: usize, offered: &Offered) -> Option<Vec<u8>> {
    let parsed = Parsed::parse(frame).unwrap();
    let v4 = parsed.v4().unwrap();
    let options = v4.tcp_options(frame).unwrap();
    let summary = OptionSummary::new(options, &KindSet::TOA);
    let mut chunk = [frame, &vec![0xdd; room]].concat();
    let mut buf = FrameBuf::new(&mut chunk, 0..frame.len()).unwrap();
    let tcp = v4.tcp().unwrap();
    syn_ack(
        &mut buf,
        parsed.l3,
        v4,
        tcp,
        (&summary).into(),
        7,
        COOKIE,
        offered,
    )?;
    Some(buf.bytes().to_vec())
}

#[test]
fn the_syn_of_linux_is_answered_in_place() {
    let offers = TcpRepr {
        mss: Some(1460),
        wscale: Some(10),
        sack_permitted: true,
        timestamps: Some(Timestamps { tsval: 7, tsecr: 0 }),
        ..syn()
    };
    let found = answer(&plain(&offers), 0, &OFFERED).unwrap();

    let mut expected = [0; 74];
    EthHeader::new(THEIRS, OURS, ETHERTYPE_IPV4)
        .put(&mut expected, 0)
        .unwrap();
    let ip = Ipv4Repr {
        src: VIP,
        dst: CLIENT,
        protocol: Protocol::TCP,
        ttl: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        payload_len: 40,
    };
    ip.emit(&mut expected[14..]).unwrap();
    let repr = TcpRepr {
        src_port: 443,
        dst_port: 40_000,
        seq: SeqNumber(0xdead_beef),
        ack: SeqNumber(0),
        flags: TcpFlags::SYN | TcpFlags::ACK,
        window: 16384,
        mss: Some(1440),
        wscale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps {
            tsval: 1000,
            tsecr: 7,
        }),
        toa: None,
    };
    repr.emit(&mut expected[34..]).unwrap();
    fill_checksums(&mut expected).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn an_mss_goes_with_a_syn_ack_where_there_is_room_for_it() {
    let bare = plain(&syn());
    let with_mss = answer(&bare, 4, &OFFERED).unwrap();
    assert_eq!(with_mss.len(), bare.len() + 4);
    assert_eq!(with_mss[54..], [2, 4, 5, 0xa0]);
    assert_eq!(answer(&bare, 3, &OFFERED).unwrap().len(), bare.len());
}

#[test]
fn without_room_nothing_is_changed() {
    let bare = plain(&syn());
    let parsed = Parsed::parse(&bare).unwrap();
    let (v4, tcp) = (parsed.v4().unwrap(), parsed.v4().unwrap().tcp().unwrap());
    // Options of another, longer SYN.
    let summary = OptionSummary {
        sack_permitted: true,
        timestamps: Some(2),
        ..OptionSummary::default()
    };
    for (l3, room) in [(14, 0), (14, 11), (60, 100), (u16::MAX, 100)] {
        let mut chunk = [&bare[..], &vec![0xdd; room]].concat();
        let before = chunk.clone();
        let mut buf = FrameBuf::new(&mut chunk, 0..bare.len()).unwrap();
        let answered = syn_ack(
            &mut buf,
            l3,
            v4,
            tcp,
            (&summary).into(),
            7,
            COOKIE,
            &OFFERED,
        );
        assert_eq!((answered, buf.bytes()), (None, &bare[..]), "{l3} {room}");
        assert_eq!(chunk, before);
    }
}

#[test]
fn a_client_without_an_mss_takes_536() {
    let mss = |mss| {
        let summary = OptionSummary {
            mss,
            ..OptionSummary::default()
        };
        client_options((&summary).into()).mss
    };
    assert_eq!(mss(None), 536);
    assert_eq!(mss(Some((0, 0))), 536);
    assert_eq!(mss(Some((0, 1))), 1);
}

#[test]
fn client_options_are_those_of_the_syn() {
    let summary = OptionSummary {
        mss: Some((0, 1400)),
        wscale: Some((5, 200)),
        sack_permitted: true,
        ..OptionSummary::default()
    };
    let options = ClientOptions {
        mss: 1400,
        wscale: Some(14),
        sack: true,
    };
    assert_eq!(client_options((&summary).into()), options);
    assert_eq!(client_options(SynOptions::NONE).wscale, None);
}

fn option() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u16>().prop_map(|mss| [&[2, 4][..], &mss.to_be_bytes()].concat()),
        any::<u8>().prop_map(|wscale| vec![3, 3, wscale]),
        Just(vec![4, 2]),
        Just(vec![8, 10, 0, 0, 0, 7, 0, 0, 0, 0]),
        Just(vec![1]),
        // Fast open, MD5, TOA, options with lengths that their kinds do not have, a broken one.
        Just(vec![34, 6, 1, 2, 3, 4]),
        Just([&[19, 18][..], &[5; 16]].concat()),
        Just(vec![254, 8, 1, 1, 9, 9, 9, 9]),
        Just(vec![2, 3, 5]),
        Just(vec![8, 4, 1, 1]),
        Just(vec![5, 200]),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    (
        any::<bool>(),
        (0usize..11).prop_map(|words| vec![1; words * 4]),
        proptest::collection::vec(option(), 0..6).prop_map(|options| {
            let mut bytes = options.concat();
            bytes.truncate(40);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }),
        proptest::collection::vec(any::<u8>(), 0..20),
        0usize..20,
    )
        .prop_map(|(vlan, ip_options, tcp_options, payload, padding)| Frame {
            vlan,
            ip_options,
            tcp_options,
            payload,
            padding,
        })
}

fn offered() -> impl Strategy<Value = Offered> {
    (
        any::<u16>(),
        proptest::option::of(0u8..15),
        any::<bool>(),
        proptest::option::of(any::<u32>()),
        any::<u16>(),
    )
        .prop_map(|(mss, wscale, sack, tsval, window)| Offered {
            mss,
            wscale,
            sack,
            tsval,
            window,
        })
}

/// Reads the options of a SYN-ACK and fails for one that has no place in it, or comes twice.
fn read_options(options: &[u8]) -> TcpRepr {
    let mut read = TcpRepr::default();
    let mut walk = TcpOptions::new(options);
    for located in walk.by_ref() {
        let fresh = match located.option {
            TcpOption::Nop => true,
            TcpOption::Mss(mss) => read.mss.replace(mss).is_none(),
            TcpOption::WindowScale(wscale) => read.wscale.replace(wscale).is_none(),
            TcpOption::SackPermitted => !core::mem::replace(&mut read.sack_permitted, true),
            TcpOption::Timestamps { tsval, tsecr } => read
                .timestamps
                .replace(Timestamps { tsval, tsecr })
                .is_none(),
            TcpOption::EndOfList
            | TcpOption::Sack(_)
            | TcpOption::Toa(_)
            | TcpOption::Unknown { .. } => false,
        };
        assert!(fresh, "{:?}", located.option);
    }
    assert!(!walk.is_malformed());
    read
}

/// What the options of an answer to a SYN must be.
fn expected_options(client: &OptionSummary, offered: &Offered, mss: bool) -> TcpRepr {
    TcpRepr {
        mss: mss.then_some(offered.mss),
        wscale: client.wscale.and(offered.wscale),
        sack_permitted: client.sack_permitted && offered.sack,
        timestamps: client
            .timestamps
            .and(offered.tsval)
            .map(|tsval| Timestamps { tsval, tsecr: 7 }),
        ..TcpRepr::default()
    }
}

proptest! {
    #[test]
    fn every_answer_is_legal_and_holds_nothing_of_the_syn(
        frame in frame(),
        offered in offered(),
        room in 0usize..8,
    ) {
        let bytes = frame.bytes();
        let syn_len = Parsed::parse(&bytes).unwrap().v4().unwrap().total_len;
        let summary = OptionSummary::new(&frame.tcp_options, &KindSet::TOA);
        let found = answer(&bytes, room, &offered).unwrap();

        prop_assert_eq!(verify_frame(&found), Ok(()));
        let eth = EthHeader::at(&found, 0).unwrap();
        prop_assert_eq!((eth.dst_addr(), eth.src_addr()), (THEIRS, OURS));
        prop_assert_eq!(&found[12..14], &bytes[12..14]);
        let parsed = Parsed::parse(&found).unwrap();
        prop_assert_eq!(parsed.vlan, frame.vlan.then_some(0x2005));
        let l3 = EthHeader::LEN + if frame.vlan { VlanTag::LEN } else { 0 };
        let ip = Ipv4Header::at(&found, l3).unwrap();
        prop_assert_eq!((ip.version_ihl, ip.tos, ip.id.get(), ip.ttl), (0x45, 0, 0, 64));
        prop_assert_eq!((ip.flags_frag.get(), ip.protocol), (0x4000, Protocol::TCP));
        prop_assert_eq!(l3 + ip.total_len.get() as usize, found.len(), "no padding is left");

        let v4 = parsed.v4().unwrap();
        prop_assert_eq!((v4.src, v4.dst), (VIP, CLIENT));
        let tcp = v4.tcp().unwrap();
        prop_assert_eq!((tcp.src_port, tcp.dst_port), (443, 40_000));
        prop_assert_eq!((tcp.seq.0, tcp.ack.0), (COOKIE.0, 0));
        prop_assert_eq!(tcp.flags, TcpFlags::SYN | TcpFlags::ACK);
        prop_assert_eq!((tcp.window, tcp.payload_len), (offered.window, 0));
        let header = TcpHeader::at(&found, v4.l4 as usize).unwrap();
        prop_assert_eq!((header.urgent.get(), header.off_flags.get() & 0x0f00), (0, 0));

        let options = read_options(v4.tcp_options(&found).unwrap());
        prop_assert_eq!(options, expected_options(&summary, &offered, options.mss.is_some()));
        let with_mss = l3 + 20 + expected_options(&summary, &offered, true).buffer_len();
        prop_assert_eq!(options.mss.is_some(), with_mss <= bytes.len() + room);
        let grown = if summary.mss.is_none() && options.mss.is_some() { 4 } else { 0 };
        prop_assert!(v4.total_len <= syn_len + grown, "an answer amplifies nothing");
    }

    #[test]
    fn a_plain_frame_is_answered_alike_by_either_way(
        mut frame in frame(),
        offered in offered(),
    ) {
        (frame.vlan, frame.ip_options) = (false, Vec::new());
        let bytes = frame.bytes();
        let v4 = V4::plain(&bytes).unwrap();
        let options = v4.tcp_options(&bytes).unwrap();
        let tcp = v4.tcp().unwrap();
        let client = SynOptions::of(options);
        let tsval = client.timestamps().map_or(0, |offset| {
            let tsval = options[offset as usize + 2..].first_chunk().unwrap();
            u32::from_be_bytes(*tsval)
        });
        let room = PlainReply::LONGEST.saturating_sub(bytes.len());
        let chunk = [&bytes[..], &vec![0xdd; room]].concat();
        let (mut general, mut plain) = (chunk.clone(), chunk);
        let mut buf = FrameBuf::new(&mut general, 0..bytes.len()).unwrap();
        syn_ack(&mut buf, V4::PLAIN_L3, &v4, tcp, client, tsval, COOKIE, &offered).unwrap();
        let general = buf.bytes();
        let mut buf = FrameBuf::new(&mut plain, 0..bytes.len()).unwrap();
        PlainReply::new(&offered).answer(&mut buf, client, COOKIE, offered.tsval.unwrap_or(9)).unwrap();
        prop_assert_eq!(buf.bytes(), general);
        prop_assert!(general.len() <= PlainReply::LONGEST);
    }

    #[test]
    fn every_answer_over_ipv6_is_legal(
        options in frame().prop_map(|frame| frame.tcp_options),
        offered in offered(),
        room in 0usize..8,
    ) {
        let l4 = EthHeader::LEN + Ipv6Header::LEN;
        let len = l4 + TcpHeader::LEN + options.len();
        let mut chunk = vec![0xdd; len + room];
        EthHeader::new(OURS, THEIRS, ETHERTYPE_IPV6).put(&mut chunk, 0).unwrap();
        let tcp = Tcp {
            src_port: 40_000,
            dst_port: 443,
            seq: SeqNumber(u32::MAX),
            ack: SeqNumber(5),
            flags: TcpFlags::SYN,
            window: 1,
            header_len: TcpHeader::LEN as u16 + options.len() as u16,
            payload_len: 0,
        };
        let summary = OptionSummary::new(&options, &KindSet::TOA);
        let mut buf = FrameBuf::new(&mut chunk, 0..len).unwrap();
        let addrs = (CLIENT_V6, VIP_V6);
        syn_ack_v6(&mut buf, 14, addrs, &tcp, (&summary).into(), 7, COOKIE, &offered).unwrap();

        let found = buf.bytes();
        prop_assert_eq!(verify_frame(found), Ok(()));
        let eth = EthHeader::at(found, 0).unwrap();
        prop_assert_eq!((eth.dst_addr(), eth.src_addr()), (THEIRS, OURS));
        let ip = Ipv6Header::at(found, 14).unwrap();
        prop_assert_eq!((ip.version(), ip.traffic_class(), ip.flow_label()), (6, 0, 0));
        prop_assert_eq!((ip.src_addr(), ip.dst_addr()), (VIP_V6, CLIENT_V6));
        prop_assert_eq!((ip.next_header, ip.hop_limit), (Protocol::TCP, 64));
        prop_assert_eq!(l4 + ip.payload_len.get() as usize, found.len());
        let header = TcpHeader::at(found, l4).unwrap();
        prop_assert_eq!((header.src_port.get(), header.dst_port.get()), (443, 40_000));
        prop_assert_eq!((header.seq.get(), header.ack.get()), (COOKIE.0, 0));
        prop_assert_eq!(header.flags(), TcpFlags::SYN | TcpFlags::ACK);
        prop_assert_eq!(l4 + header.header_len(), found.len());
        let options = read_options(&found[l4 + TcpHeader::LEN..]);
        prop_assert_eq!(options, expected_options(&summary, &offered, options.mss.is_some()));
    }
}
