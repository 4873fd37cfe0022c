use super::*;

fn connection() -> Connection {
    let (settings, counts) = (ConnectionSettings::default(), ConnectionCounts::default());
    Connection::new(settings, counts, CancellationToken::new(), Instant::now())
}

/// Why it is over after so many seconds.
fn over_after(connection: &Connection, seconds: u64) -> Standing {
    connection.standing(&connection.state(), Instant::now() + Duration::from_secs(seconds))
}

#[test]
fn a_head_has_half_a_minute_from_its_first_byte() {
    let connection = connection();
    assert_eq!(over_after(&connection, 70), Standing::InTime);
    assert_eq!(over_after(&connection, 76), Standing::Overdue(Cut::Idle));
    connection.bytes_came();
    assert_eq!(over_after(&connection, 29), Standing::InTime);
    connection.bytes_came();
    assert_eq!(over_after(&connection, 31), Standing::Overdue(Cut::Head));
    connection.request_came(false);
    assert_eq!(over_after(&connection, 3600), Standing::InTime, "the server's turn");
}

#[test]
fn an_answer_must_be_read_but_may_be_awaited() {
    let connection = connection();
    connection.let_in();
    connection.request_came(false);
    connection.answer_handed_out(true);
    assert_eq!(over_after(&connection, 331), Standing::Overdue(Cut::Unread));
    connection.answer_awaited();
    assert_eq!(over_after(&connection, 3600), Standing::InTime);
    connection.answer_handed_out(true);
    connection.answer_ended(false);
    assert_eq!(
        over_after(&connection, 610),
        Standing::InTime,
        "load balancers keep connections for ten minutes"
    );
    assert_eq!(over_after(&connection, 621), Standing::Overdue(Cut::Idle));
}

#[test]
fn the_rest_of_a_body_that_nobody_read_is_no_head() {
    let connection = connection();
    connection.request_came(true);
    connection.answer_handed_out(true);
    connection.answer_ended(false);
    connection.bytes_came();
    assert!(connection.has_more_to_say(), "it may be on its way");
    assert_eq!(over_after(&connection, 31), Standing::InTime, "the connection is idle");
    let before = Instant::now().checked_sub(2 * YOUNG).unwrap();
    connection.state().moved = before;
    assert!(!connection.has_more_to_say(), "it has come or never will");
    connection.bytes_came();
    assert_eq!(over_after(&connection, 31), Standing::Overdue(Cut::Head));
}

#[test]
fn one_that_has_its_answer_is_not_cut_off_though_its_client_still_sends() {
    let connection = connection();
    assert!(!connection.is_in_the_middle());
    connection.request_came(true);
    assert!(connection.is_in_the_middle(), "it waits");
    connection.answer_handed_out(true);
    connection.bytes_went(10, false);
    connection.answer_ended(false);
    assert!(connection.is_in_the_middle(), "it has not taken all of it");
    connection.bytes_went(10, true);
    assert!(!connection.is_in_the_middle());
    connection.request_came(true);
    connection.leaves();
    assert!(!connection.is_in_the_middle(), "nothing of this will be read");
}

/// How well it can be spared after so many seconds.
fn spare_after(connection: &Connection, seconds: u64) -> Option<Spare> {
    connection.spare(Instant::now() + Duration::from_secs(seconds))
}

#[test]
fn what_a_stranger_asks_earns_it_nothing() {
    let (busy, idle) = (connection(), connection());
    busy.state().came = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
    busy.request_came(false);
    assert!(spare_after(&busy, 10).is_none(), "it is being answered");
    busy.answer_handed_out(true);
    busy.answer_ended(false);
    assert!(spare_after(&busy, 0) > spare_after(&idle, 2));
    idle.let_in();
    assert!(spare_after(&busy, 0) > spare_after(&idle, 600));
}

#[test]
fn who_owes_something_makes_room_after_those_who_are_idle() {
    let [idle, sends, reads, waits] = std::array::from_fn(|_| connection());
    for one in [&idle, &sends, &reads, &waits] {
        one.let_in();
    }
    sends.request_came(true);
    reads.request_came(false);
    reads.answer_handed_out(true);
    reads.bytes_went(10, false);
    waits.request_came(true);
    waits.body_came();
    assert!(spare_after(&idle, 2) > spare_after(&sends, 600));
    for owing in [&sends, &reads] {
        assert!(spare_after(owing, 9).is_none() && spare_after(owing, 11).is_some());
    }
    assert!(spare_after(&waits, 3600).is_none(), "the server's turn");
    sends.body_bytes_came(1);
    assert!(spare_after(&sends, 11).is_some(), "a byte now and then does not help");
    sends.body_bytes_came(1 << 20);
    assert!(spare_after(&sends, 9).is_none(), "it is fast enough");
    sends.hold_body(true);
    assert!(spare_after(&sends, 60).is_none(), "it waits for the server");
    sends.hold_body(false);
    assert!(spare_after(&sends, 9).is_none() && spare_after(&sends, 11).is_some());
}

#[test]
fn of_strangers_the_oldest_makes_room_first_whatever_it_is_at() {
    let (reads_nothing, idle) = (connection(), connection());
    reads_nothing.state().came = Instant::now().checked_sub(Duration::from_secs(20)).unwrap();
    reads_nothing.request_came(false);
    reads_nothing.answer_handed_out(true);
    reads_nothing.bytes_went(10, false);
    assert!(spare_after(&reads_nothing, 2) > spare_after(&idle, 2));
}

#[test]
fn one_whose_next_request_is_on_its_way_is_not_idle() {
    let connection = connection();
    connection.let_in();
    connection.state().moved = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    assert!(spare_after(&connection, 0).is_some());
    connection.bytes_came();
    assert!(spare_after(&connection, 0).is_none());
}

#[test]
fn a_stranger_has_less_time_to_read() {
    let connection = connection();
    connection.request_came(false);
    connection.answer_handed_out(true);
    assert_eq!(over_after(&connection, 31), Standing::Overdue(Cut::Unread));
}

#[test]
fn what_the_system_does_not_take_must_move() {
    let connection = connection();
    connection.bytes_went(0, false);
    assert_eq!(over_after(&connection, 31), Standing::Overdue(Cut::Unread));
    connection.bytes_went(100 * 1024, true);
    assert_eq!(over_after(&connection, 31), Standing::InTime);
}
