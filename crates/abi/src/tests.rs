use super::*;
use std::net::IpAddr;
use std::string::ToString;

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().expect("literal address").into()
}

#[test]
fn addresses_survive_the_round_trip() {
    for text in ["10.1.2.3", "fd00::1", "0.0.0.0", "::1"] {
        assert_eq!(IpAddr::from(addr(text)).to_string(), text);
    }
    assert!(addr("10.1.2.3").is_v4() && !addr("fd00::1").is_v4());
}

#[test]
fn prefixes_contain_what_they_should() {
    assert!(addr("10.1.2.3").within(&addr("10.1.0.0"), 112));
    assert!(!addr("10.2.2.3").within(&addr("10.1.0.0"), 112));
    assert!(addr("fd00:1::5").within(&addr("fd00:1::"), 64));
    assert!(addr("fd00:1::5").within(&addr("::"), 0));
    assert!(!addr("fd00:1::5").within(&addr("fd00:1::4"), 128));
}

#[test]
fn the_order_is_total() {
    let (a, b) = (addr("10.0.0.1"), addr("10.0.0.2"));
    assert!(a.below(&b) != b.below(&a) && !a.below(&a));
}

#[test]
fn marks_carry_identities() {
    let marked = mark::with_identity(0x0012_3456);
    assert_eq!(marked & mark::MAGIC_MASK, mark::IDENTITY);
    assert_eq!(mark::carried(marked), 0x0012_3456);
}

#[test]
fn reasons_have_their_numbers_and_texts() {
    assert_eq!(DropReason::PolicyDenied as u8, 133);
    assert_eq!(DropReason::from_code(181).map(DropReason::text), Some("Policy denied by denylist"));
    assert_eq!(DropReason::from_code(1), None);
}
