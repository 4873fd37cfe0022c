use super::*;
use futures_util::FutureExt;
use rstest::rstest;
use serde_json::json;

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

fn account() -> Arc<Account> {
    Account::new(AccountSettings::default())
}

/// A refusal that is lifted in so many seconds, if that is known.
fn limit(seconds: Option<u64>) -> TurnFailure {
    let resets_at = seconds.map(|seconds| SystemTime::now() + Duration::from_secs(seconds));
    TurnFailure::UsageLimit { resets_at, sentence: "used up".to_owned() }
}

fn unauthenticated() -> TurnFailure {
    let kind = ApiFailureKind::Authentication;
    TurnFailure::Api { status: Some(401), kind, sentence: "who are you?".to_owned() }
}

fn refuse(account: &Arc<Account>, failure: &TurnFailure) {
    account.enter("sonnet").unwrap().failed(failure);
}

fn refused(account: &Arc<Account>, model: &str) -> Option<&'static str> {
    account.enter(model).err().map(|failure| failure.kind())
}

#[rstest]
#[case(limit(Some(5000)), "usage_limit")]
#[case(limit(None), "usage_limit")]
#[case(unauthenticated(), "api_authentication")]
#[tokio::test(start_paused = true)]
async fn one_request_in_half_a_minute_looks_whether_a_refusal_is_over(
    #[case] failure: TurnFailure,
    #[case] kind: &str,
) {
    let account = account();
    refuse(&account, &failure);
    tokio::time::advance(HALF_A_MINUTE - Duration::from_millis(1)).await;
    assert_eq!(refused(&account, "sonnet"), Some(kind));
    assert!(account.is_closed());
    tokio::time::advance(Duration::from_millis(1)).await;
    let probe = account.enter("opus").unwrap();
    // One at a time, however long it takes.
    tokio::time::advance(3 * HALF_A_MINUTE).await;
    assert_eq!(refused(&account, "opus"), Some(kind));
    probe.failed(&failure);
    drop(probe);
    assert_eq!(refused(&account, "opus"), Some(kind));
    tokio::time::advance(HALF_A_MINUTE).await;
    // It came to nothing, and said nothing.
    drop(account.enter("opus").unwrap());
    assert_eq!(refused(&account, "opus"), Some(kind));
    tokio::time::advance(HALF_A_MINUTE).await;
    account.enter("opus").unwrap().answered();
    assert!(!account.is_closed());
    assert_eq!(refused(&account, "sonnet"), None);
}

#[tokio::test(start_paused = true)]
async fn a_usage_limit_is_over_at_its_reset_and_the_time_until_then_is_told() {
    let account = account();
    refuse(&account, &limit(Some(100)));
    tokio::time::advance(Duration::from_secs(29)).await;
    let Err(TurnFailure::UsageLimit { resets_at: Some(resets_at), sentence }) = account.enter("sonnet")
    else {
        panic!("it is refused")
    };
    // Tokio's clock went on, the wall clock did not: what counts is the time that has gone by.
    let left = resets_at.duration_since(SystemTime::now()).unwrap().as_secs_f64();
    assert!((70.0..71.1).contains(&left), "{left}");
    assert_eq!(sentence, "used up");
    let told = account.subscription();
    assert_eq!((told.standing, told.resets_at.is_some()), (Standing::Rejected, true));
    tokio::time::advance(Duration::from_secs(72)).await;
    assert_eq!(refused(&account, "sonnet"), None);
    assert_eq!(account.subscription().standing, Standing::Ok);
    assert!(account.subscription().last_rejection.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_has_passed_when_it_is_told_is_none_to_go_by() {
    let account = account();
    refuse(
        &account,
        &TurnFailure::UsageLimit { resets_at: Some(SystemTime::UNIX_EPOCH), sentence: String::new() },
    );
    assert_eq!(refused(&account, "sonnet"), Some("usage_limit"));
    tokio::time::advance(Duration::from_secs(5 * 60 * 60)).await;
    assert!(!account.is_closed(), "nor does it count for ever");
}

#[tokio::test(start_paused = true)]
async fn what_began_before_a_refusal_does_not_lift_it() {
    let account = account();
    let mut before = account.enter("sonnet").unwrap();
    refuse(&account, &limit(Some(5000)));
    before.answered();
    assert_eq!(refused(&account, "sonnet"), Some("usage_limit"));
    // Nor does its refusal put an end to the look of another.
    tokio::time::advance(HALF_A_MINUTE).await;
    let mut probe = account.enter("sonnet").unwrap();
    before.failed(&limit(Some(5000)));
    probe.answered();
    assert_eq!(refused(&account, "sonnet"), None);
}

#[rstest]
#[case("five_hour", "sonnet", Some("usage_limit"))]
#[case("overage", "sonnet", Some("usage_limit"))]
#[case("seven_day_opus", "claude-sonnet-5-5", None)]
#[case("seven_day_opus", "claude-opus-5", Some("usage_limit"))]
#[case("seven_day_overage_included", "claude-opus-5", None)]
#[case("seven_day_overage_included", "claude-opus-5-5", Some("usage_limit"))]
#[tokio::test(start_paused = true)]
async fn a_limit_of_some_models_is_none_of_the_others(
    #[case] kind: &str,
    #[case] model: &str,
    #[case] expected: Option<&str>,
) {
    let account = account();
    let mut turn = account.enter("claude-opus-5-5").unwrap();
    turn.heard(&serde_json::from_value(json!({"status": "rejected", "rateLimitType": kind})).unwrap());
    turn.failed(&limit(Some(5000)));
    assert_eq!(refused(&account, model), expected);
    let is_of_all = !kind.starts_with("seven_day_");
    assert_eq!(account.is_closed(), is_of_all);
    let standing = if is_of_all { Standing::Rejected } else { Standing::Warning };
    assert_eq!(account.subscription().standing, standing);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_his_turn_learns_of_a_refusal() {
    let account = account();
    let waits = account.enter("sonnet").unwrap();
    let mut refused = std::pin::pin!(waits.refused());
    assert!(refused.as_mut().now_or_never().is_none());
    refuse(&account, &limit(Some(5000)));
    assert_eq!(refused.await.kind(), "usage_limit");
    // But not one that was let through to see for itself.
    tokio::time::advance(HALF_A_MINUTE).await;
    let probe = account.enter("sonnet").unwrap();
    let mut refused = std::pin::pin!(probe.refused());
    assert!(refused.as_mut().now_or_never().is_none());
    account.sign_out();
    assert_eq!(refused.await.kind(), "signed_out");
}

#[tokio::test(start_paused = true)]
async fn a_count_is_refused_and_never_a_look() {
    let account = account();
    assert!(account.expect_open("sonnet").is_ok());
    refuse(&account, &limit(None));
    tokio::time::advance(2 * HALF_A_MINUTE).await;
    assert!(account.expect_open("sonnet").is_err());
    assert!(account.enter("sonnet").is_ok());
}

#[tokio::test(start_paused = true)]
async fn other_failures_close_nothing_but_those_of_the_account_are_remembered() {
    let account = account();
    let api = |kind| TurnFailure::Api { status: None, kind, sentence: "no".to_owned() };
    for failure in [TurnFailure::Busy, api(ApiFailureKind::RateLimited), api(ApiFailureKind::ExtraUsage)] {
        refuse(&account, &failure);
    }
    assert_eq!((account.last_failure(), account.is_closed()), (None, false));
    refuse(&account, &api(ApiFailureKind::Permission));
    assert_eq!(account.last_failure().unwrap().kind, "api_permission");
    assert!(!account.is_closed());
    refuse(&account, &unauthenticated());
    assert_eq!(account.last_failure().unwrap().message, "who are you?");
    assert!(account.is_unauthenticated());
}
