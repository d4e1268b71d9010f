use super::waiting::{HELD, HELD_EACH, HELD_LEN};
use super::*;

const PORT: PortId = PortId(1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const MAC: EthAddr = EthAddr([2, 0, 0, 0, 0, 9]);

fn requests(neighbours: &mut Neighbours, now_ms: u32) -> (Vec<Request>, u32) {
    let mut asked = Vec::new();
    let given_up = neighbours.tick(now_ms, |request| asked.push(request));
    (asked, given_up)
}

#[test]
fn a_frame_waits_until_its_neighbour_is_known() {
    let mut neighbours = Neighbours::new(0);
    assert_eq!(neighbours.resolve(0, PORT, ADDRESS), Resolved::Ask);
    assert!(neighbours.hold(0, PORT, ADDRESS, &[0; 60]));
    assert_eq!(neighbours.resolve(1, PORT, ADDRESS), Resolved::Wait);
    assert!(neighbours.learn(5, PORT, ADDRESS, MAC, false));
    let mut buffer = [0; 100];
    assert_eq!(neighbours.next_ready(&mut buffer), Some((PORT, 60)));
    assert_eq!(buffer[..6], MAC.0);
    assert_eq!(neighbours.next_ready(&mut buffer), None);
    assert_eq!(neighbours.resolve(6, PORT, ADDRESS), Resolved::Known(MAC));
}

#[test]
fn an_unanswered_request_is_repeated_and_then_given_up_with_its_frames() {
    let mut neighbours = Neighbours::new(0);
    assert_eq!(neighbours.resolve(0, PORT, ADDRESS), Resolved::Ask);
    assert!(neighbours.hold(0, PORT, ADDRESS, &[0; 60]));
    assert_eq!(requests(&mut neighbours, 500), (vec![], 0));
    assert_eq!(requests(&mut neighbours, 1000).0.len(), 1);
    assert_eq!(requests(&mut neighbours, 2000).0.len(), 1);
    assert_eq!(requests(&mut neighbours, 3000), (vec![], 1));
    assert!(!neighbours.is_asking());
    assert_eq!(neighbours.resolve(3001, PORT, ADDRESS), Resolved::Ask);
}

#[test]
fn an_old_address_is_confirmed_by_unicast_while_it_stays_in_use() {
    let mut neighbours = Neighbours::new(0);
    assert!(neighbours.learn(0, PORT, ADDRESS, MAC, true));
    assert_eq!(
        neighbours.resolve(TRUST_MS + 1, PORT, ADDRESS),
        Resolved::Known(MAC)
    );
    let (asked, _) = requests(&mut neighbours, TRUST_MS + 101);
    assert_eq!(
        asked,
        [Request {
            port: PORT,
            address: ADDRESS,
            unicast: Some(MAC)
        }]
    );
    assert!(
        !neighbours.learn(TRUST_MS + 150, PORT, ADDRESS, MAC, false),
        "no news"
    );
    assert!(!neighbours.is_asking());
}

#[test]
fn a_dead_neighbour_is_forgotten_after_unicast_and_broadcast() {
    let mut neighbours = Neighbours::new(0);
    neighbours.learn(0, PORT, ADDRESS, MAC, true);
    neighbours.resolve(TRUST_MS + 1, PORT, ADDRESS);
    let mut broadcasts = 0;
    for second in 0..10 {
        let (asked, _) = requests(&mut neighbours, TRUST_MS + 200 + second * 1000);
        broadcasts += asked
            .iter()
            .filter(|request| request.unicast.is_none())
            .count();
    }
    assert_eq!(broadcasts, 3);
    assert_eq!(
        neighbours.resolve(TRUST_MS + 20_000, PORT, ADDRESS),
        Resolved::Ask
    );
}

#[test]
fn hosts_that_do_not_exist_displace_no_neighbour_in_use() {
    let mut neighbours = Neighbours::new(0);
    assert!(neighbours.learn(0, PORT, ADDRESS, MAC, true));
    for i in 0..100_000u32 {
        let nobody = Ipv4Addr::from(0x0a01_0000 + i);
        let resolved = neighbours.resolve(i, PORT, nobody);
        assert!(matches!(resolved, Resolved::Ask | Resolved::TooMany));
        if i % 1000 == 0 {
            neighbours.resolve(i, PORT, ADDRESS);
        }
    }
    assert_eq!(
        neighbours.resolve(100_000, PORT, ADDRESS),
        Resolved::Known(MAC)
    );
}

#[test]
fn no_more_new_neighbours_are_asked_for_than_the_rate_allows() {
    let mut neighbours = Neighbours::new(0);
    let asked = (0..100_000u32)
        .map(|i| neighbours.resolve(i / 100, PORT, Ipv4Addr::from(0x0a01_0000 + i)))
        .filter(|resolved| *resolved == Resolved::Ask)
        .count();
    assert_eq!(asked, 1000 + 999);
}

#[test]
fn a_neighbour_long_unused_makes_room() {
    let mut neighbours = Neighbours::new(0);
    let set = Neighbours::set_of(PORT, ADDRESS);
    let same_set: Vec<Ipv4Addr> = (0..100_000u32)
        .map(|i| Ipv4Addr::from(0x0a01_0000 + i))
        .filter(|address| Neighbours::set_of(PORT, *address) == set)
        .take(WAYS)
        .collect();
    for address in &same_set {
        neighbours.learn(0, PORT, *address, MAC, true);
    }
    let later = 2 * TRUST_MS;
    assert_eq!(neighbours.resolve(later, PORT, ADDRESS), Resolved::Ask);
    assert!(neighbours.learn(later, PORT, ADDRESS, MAC, false));
    assert_eq!(
        neighbours.resolve(later, PORT, ADDRESS),
        Resolved::Known(MAC)
    );
}

#[test]
fn strangers_are_not_taken_in_and_waiting_frames_are_bounded() {
    let mut neighbours = Neighbours::new(0);
    assert!(!neighbours.learn(0, PORT, ADDRESS, MAC, false));
    assert!(!neighbours.learn(0, PORT, ADDRESS, EthAddr::BROADCAST, true));
    let held = (0..1000)
        .filter(|_| neighbours.hold(0, PORT, ADDRESS, &[1]))
        .count();
    assert_eq!(held, HELD_EACH);
    let others = (0..1000u32)
        .filter(|i| neighbours.hold(0, PORT, Ipv4Addr::from(i.to_be_bytes()), &[1]))
        .count();
    assert_eq!(held + others, HELD);
    assert!(!neighbours.hold(0, PORT, ADDRESS, &[0; HELD_LEN + 1]));
}
