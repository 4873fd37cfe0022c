use super::*;
use jiff::civil::date;

fn row(day: Date, caller: &str, model: &str, tokens: u64) -> UsageRow {
    UsageRow {
        key: UsageKey {
            day,
            caller: CallerId::new(caller),
            tenant: TenantName::new(if caller == "eve" { "other" } else { "default" }).unwrap(),
            model: model.into(),
        },
        caller_name: caller.to_uppercase().into(),
        amounts: Amounts { requests: 1, input: tokens, cache_creation: 1, cache_read: 2, output: 3 },
    }
}

fn query() -> UsageQuery {
    let (from, to) = (date(2026, 1, 1), date(2026, 12, 31));
    UsageQuery { from, to, caller: None, tenant: None, model: None, limit: 100 }
}

fn store() -> Store {
    let store = Store::in_memory().unwrap();
    let rows = [
        row(date(2026, 11, 30), "ann", "sonnet", 4),
        row(date(2026, 11, 30), "ann", "haiku", 14),
        row(date(2026, 11, 1), "ann", "haiku", 94),
        row(date(2026, 10, 31), "ann", "haiku", 994),
        row(date(2026, 11, 30), "eve", "haiku", 9994),
    ];
    store.add_usage(rows.into_iter()).unwrap();
    store
}

#[test]
fn quotas_are_sums_of_the_day_and_the_calendar_s_month() {
    let store = store();
    let day = date(2026, 11, 30);
    let used = |whose| store.used_tokens(&whose, day).unwrap();
    assert_eq!(used(Whose::Caller(CallerId::new("ann"))), (30, 130));
    assert_eq!(used(Whose::Tenant(TenantName::new("other").unwrap())), (10_000, 10_000));
    assert_eq!(used(Whose::All), (10_030, 10_130));
    assert_eq!(used(Whose::Caller(CallerId::new("nobody"))), (0, 0));
    let december = store.used_tokens(&Whose::All, date(2026, 12, 1)).unwrap();
    assert_eq!(december, (0, 0));
}

#[test]
fn what_is_added_to_a_row_is_added_up_under_the_caller_s_last_name() {
    let store = store();
    let again = UsageRow { caller_name: "Ann B".into(), ..row(date(2026, 11, 30), "ann", "sonnet", 6) };
    store.add_usage([again].into_iter()).unwrap();
    let found = store.usage(&UsageQuery { model: Some("sonnet".to_owned()), ..query() }).unwrap();
    let amounts = Amounts { requests: 2, input: 10, cache_creation: 2, cache_read: 4, output: 6 };
    assert_eq!(found.rows.len(), 1);
    assert_eq!((found.rows[0].amounts, &*found.rows[0].caller_name), (amounts, "Ann B"));
    assert_eq!(found.totals, amounts);
}

#[test]
fn rows_are_found_by_day_caller_tenant_and_model_and_the_sums_are_those_of_all() {
    let store = store();
    let count = |query: UsageQuery| store.usage(&query).unwrap().rows.len();
    assert_eq!(count(query()), 5);
    assert_eq!(count(UsageQuery { from: date(2026, 11, 1), ..query() }), 4);
    assert_eq!(count(UsageQuery { to: date(2026, 11, 1), ..query() }), 2);
    for ann in ["ann", "ANN"] {
        assert_eq!(count(UsageQuery { caller: Some(ann.to_owned()), ..query() }), 4, "{ann}");
    }
    assert_eq!(count(UsageQuery { tenant: Some("other".to_owned()), ..query() }), 1);
    let hostile = Some("' OR 1 = 1 --".to_owned());
    assert_eq!(count(UsageQuery { model: hostile, ..query() }), 0);

    let found = store.usage(&UsageQuery { limit: 2, ..query() }).unwrap();
    assert!(found.has_more && found.rows.len() == 2);
    assert_eq!(found.rows[0].key.day, date(2026, 11, 30), "the latest first");
    assert_eq!((found.totals.requests, found.totals.tokens()), (5, 11_130));
    assert!(!store.usage(&UsageQuery { limit: 5, ..query() }).unwrap().has_more);
}
