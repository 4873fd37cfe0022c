//! Nothing of one tenant reaches another.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use couplet::claude::credential::Credential;
use couplet::claude::warm::WarmLimits;
use couplet::config::Config;
use serde_json::{Value, json};

use super::{PATIENCE, answer, healthy, recital, reciting, request};
use crate::support::app::{TOKEN, TestApp, key_of, token_of};
use crate::support::fake_cli::script::{Report, Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, fixture, play};

const TENANTS: [&str; 3] = ["ann", "bob", "carl"];

async fn app(fake: &FakeCli) -> TestApp {
    let kept = |config: &mut Config| config.claude.keep.processes = 16;
    fake.builder().await.with_tenants(&TENANTS).with(kept).start().await
}

/// A variable of a process's environment.
fn variable(report: &Report, name: &str) -> String {
    let prefix = format!("{name}=");
    let found = report.environment.iter().find_map(|variable| variable.strip_prefix(&prefix));
    found.unwrap_or_else(|| panic!("{name} in {report:?}")).to_owned()
}

#[tokio::test]
async fn each_process_has_the_credential_and_the_folders_of_its_tenant() {
    let fake = reciting("none", vec![]);
    let app = app(&fake).await;
    let mut folders = BTreeSet::new();
    for tenant in ["default", "ann", "bob", "carl"] {
        recital(&app, tenant, &request(&[], "hello")).await;
        let report = fake.report();
        let token = if tenant == "default" { TOKEN.to_owned() } else { token_of(tenant) };
        assert_eq!(report.credential.as_deref(), Some(&*token), "{tenant}");
        let all = format!("{:?}{:?}", report.environment, report.arguments);
        assert!(!all.contains("canary"), "it comes by the descriptor alone: {all}");
        for name in ["CLAUDE_CONFIG_DIR", "HOME"] {
            let folder = variable(&report, name);
            assert_eq!(folder.contains(&format!("/tenants/{tenant}/")), tenant != "default", "{folder}");
            assert!(folders.insert(folder.clone()), "{folder} is that of another");
            assert_eq!(std::fs::metadata(&folder).expect("a folder").permissions().mode() & 0o777, 0o700);
        }
        fake.forget_reports();
    }
    assert_eq!(app.health().await["tenants"], 4);
}

#[tokio::test]
async fn a_conversation_never_goes_on_in_a_process_of_another_tenant() {
    let fake = reciting("none", vec![]);
    let app = app(&fake).await;
    let first = recital(&app, "ann", &request(&[], "hello")).await;
    let history = [("user", "hello"), ("assistant", "fine")];
    let next = request(&history, "and now?");
    for other in ["bob", "default", "carl"] {
        let laid_down = recital(&app, other, &next).await;
        assert_ne!(laid_down.process_id, first.process_id, "{other}");
        assert_eq!(laid_down.said.len(), 3, "{other} had all of it laid down");
    }
    assert_eq!(recital(&app, "ann", &next).await.process_id, first.process_id, "it is live all the same");
}

#[tokio::test]
async fn a_tenant_s_caller_does_not_see_how_the_others_are_doing() {
    let fake = reciting("none", vec![]);
    let keyless = |config: &mut Config| config.access.admin_key = None;
    let app = fake.builder().await.with_tenants(&TENANTS).with(keyless).start().await;
    for (tenant, status) in [("default", 200), ("ann", 403), ("bob", 403)] {
        let response = app.get("/metrics").bearer_auth(key_of(tenant)).send().await.expect("an answer");
        assert_eq!(response.status(), status, "{tenant}");
        assert_eq!(response.text().await.expect("a text").contains("carl"), status == 200, "{tenant}");
    }
}

#[tokio::test]
async fn a_usage_limit_of_one_does_not_stop_another() {
    let limit = Step::Replay { file: fixture("error-429-usage-limit"), frames: usize::MAX, half: false };
    let fake = reciting("limit", vec![limit]);
    let app = app(&fake).await;
    let (status, error) = answer(&app, "ann", &request(&[], "limit")).await;
    assert_eq!((status, &error["error"]["code"]), (429, &json!("insufficient_quota")), "{error}");
    for other in ["bob", "default"] {
        recital(&app, other, &request(&[], "hello")).await;
    }
}

#[tokio::test]
async fn a_credential_that_is_refused_does_not_touch_another() {
    let refused = Step::Replay { file: fixture("error-401"), frames: usize::MAX, half: false };
    let fake = reciting("refuse", vec![refused]);
    let app = app(&fake).await;
    let first = recital(&app, "bob", &request(&[], "hello")).await;
    for _ in 0..2 {
        let (status, error) = answer(&app, "ann", &request(&[], "refuse")).await;
        assert_eq!((status, &error["error"]["code"]), (401, &json!("invalid_api_key")), "{error}");
    }
    let next = request(&[("user", "hello"), ("assistant", "fine")], "and now?");
    assert_eq!(recital(&app, "bob", &next).await.process_id, first.process_id);
    recital(&app, "default", &request(&[], "hello")).await;
}

#[tokio::test]
async fn a_tenant_that_there_is_not_is_told_so() {
    let fake = reciting("none", vec![]);
    // Its key is known, as that of a tenant who was taken out.
    let forget = |config: &mut Config| config.tenants.clear();
    let app = fake.builder().await.with_tenants(&["ann"]).with(forget).start().await;
    let (status, error) = answer(&app, "ann", &request(&[], "hello")).await;
    assert_eq!((status, &error["error"]["code"]), (403, &json!("tenant_not_found")), "{error}");
}

#[tokio::test]
async fn without_a_sign_in_of_the_server_only_tenants_are_answered() {
    let fake = reciting("none", vec![]);
    let missing = |config: &mut Config| {
        config.claude.process.credential = Credential::Missing;
        config.claude.warm =
            WarmLimits { min: 2, max: 4, idle: Duration::from_secs(60), max_age: Duration::from_secs(60) };
        config.list_models_at_start = true;
    };
    let builder = fake.builder().await.with_tenants(&["ann"]);
    let mut app = builder.with(missing).start().await;
    assert_eq!(recital(&app, "ann", &request(&[], "hello")).await.said.len(), 1);
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let refused = app.post(path).bearer_auth(key_of("default")).json(&request(&[], "hello"));
        let refused = refused.send().await.expect("an answer");
        assert_eq!(refused.status(), 401);
        assert!(refused.headers().contains_key("www-authenticate"));
        assert!(refused.text().await.expect("a text").contains("claude setup-token"));
    }
    let health = app.health().await;
    assert_eq!((&health["status"], &health["tenants"]), (&json!("ok"), &json!(1)), "{health}");
    assert!(fake.reports().iter().all(|report| report.credential.as_deref() == Some(&*token_of("ann"))));
    app.shut_down().await;
    fake.gone_within(PATIENCE).await;
}

#[tokio::test]
async fn processes_wait_for_a_tenant_only_while_it_is_used() {
    let fake = reciting("none", vec![]);
    let warm = WarmLimits { min: 2, max: 4, idle: Duration::from_secs(2), max_age: Duration::from_secs(600) };
    let app = fake.builder().await.with_tenants(&TENANTS);
    let app = app.with(|config| config.claude.warm = warm).start().await;
    let waiting = |health: &Value| {
        let count = |name: &str| health["processes"][name].as_u64().expect("a number");
        if count("starting") == 0 { count("generic") + count("prepared") } else { u64::MAX }
    };
    healthy(&app, "the default one's wait", |health| waiting(health) == 2).await;
    let of = |fake: &FakeCli, token: &str| {
        fake.reports().iter().filter(|report| report.credential.as_deref() == Some(token)).count()
    };
    assert_eq!((of(&fake, TOKEN), fake.reports().len()), (2, 2), "none for those who never asked");
    recital(&app, "ann", &request(&[], "hello")).await;
    healthy(&app, "two of hers wait too", |health| waiting(health) == 4).await;
    assert_eq!(of(&fake, &token_of("ann")), 3);
    healthy(&app, "hers have ended", |health| waiting(health) == 2).await;
    // Those that are left are the default one's.
    let living = fake.living();
    eventually(PATIENCE, "two are left", || fake.living().len() == 2).await;
    let kept = fake.reports().into_iter().filter(|report| living.contains(&report.process_id));
    assert!(kept.clone().count() >= 2);
    let left = fake.living();
    let mut left_reports = kept.filter(|report| left.contains(&report.process_id));
    assert!(left_reports.all(|report| report.credential.as_deref() == Some(TOKEN)));
}

#[tokio::test]
async fn models_are_listed_for_each_tenant_in_a_process_of_its_own() {
    let fake = FakeCli::new(&Script {
        plays: vec![play("", [Step::Answer("fine".to_owned())])],
        ..Script::default()
    });
    let app = app(&fake).await;
    for tenant in ["ann", "bob"] {
        let listing = app.get("/v1/models").bearer_auth(key_of(tenant)).send().await.expect("an answer");
        // The fake CLI names none: what counts is whom it was asked as.
        let _ = listing.bytes().await.expect("a body");
        let tokens: Vec<_> = fake.reports().into_iter().filter_map(|report| report.credential).collect();
        assert_eq!(tokens, [token_of(tenant)]);
        fake.forget_reports();
    }
}
