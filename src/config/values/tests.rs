use std::time::Duration;

use super::*;
use rstest::rstest;

#[rstest]
#[case::seconds(Seconds::read("0").is_err())]
#[case::seconds(Seconds::read("-1").is_err())]
#[case::seconds(Seconds::read("NaN").is_err())]
#[case::seconds(Seconds::read("inf").is_err())]
#[case::seconds(Seconds::read("1e-12").is_err())]
#[case::seconds(Seconds::read("604801").is_err())]
#[case::seconds(Seconds::read("0.5") == Ok(Seconds(Duration::from_millis(500))))]
#[case::bytes(Bytes::read("2GiB") == Ok(Bytes(2 << 30)))]
#[case::bytes(Bytes::read("1500 MB") == Ok(Bytes(1_500_000_000)))]
#[case::bytes(Bytes::read("77") == Ok(Bytes(77)))]
#[case::bytes(Bytes::read("-1").is_err())]
#[case::bytes(Bytes::read("much").is_err())]
#[case::whole(Whole::<1, 3>::read("0").is_err())]
#[case::whole(Whole::<1, 3>::read("4").is_err())]
#[case::whole(Whole::<1, 3>::read("3") == Ok(Whole(3)))]
#[case::url(BaseUrl::read("gateway.example.org").is_err())]
#[case::url(BaseUrl::read("https://ann:secret@gateway.example.org").is_err())]
#[case::url(BaseUrl::read("ftp://gateway.example.org").is_err())]
#[case::url(BaseUrl::read("http://127.0.0.1:9911/base").is_ok())]
#[case::host(Vec::<HostName>::read("https://chat.example.org").is_err())]
#[case::host(Vec::<HostName>::read("*.example.org").is_err())]
#[case::host(Vec::<HostName>::read("a.example, b.example:80 ,,[::1]").is_ok_and(|list| list.len() == 3))]
#[case::origin(Vec::<Origin>::read("chat.example.org").is_err())]
#[case::origin(Vec::<Origin>::read("https://chat.example.org/page").is_err())]
#[case::origin(Vec::<Origin>::read("*").is_err())]
#[case::origin(Vec::<Origin>::read("null").is_err())]
#[case::origin(Vec::<Origin>::read("https://chat.example.org/,app://tauri").is_ok())]
fn kinds_take_what_they_say(#[case] holds: bool) {
    assert!(holds);
}
