//! Tests with Node.js clients, the official `openai` package above all.

use std::time::Duration;

use couplet::upstream::Upstream;
use rstest::rstest;

use crate::support::app::Builder;
use crate::support::node::{node_packages, run_script};
use crate::support::real_cli::real_cli;

/// Runs a script against Couplet with the real CLI, its scripted API being `told` first, and expects so many steps to be
/// fine.
async fn behind_couplet(
    script: &'static str,
    arguments: &[&'static str],
    steps: usize,
    told: impl FnOnce(&Upstream),
) {
    let Some(cli) = real_cli() else { return };
    let packages = node_packages();
    let app = Builder::new(&cli).await.start().await;
    told(&app.upstream);
    let url = app.url.clone();
    let arguments = arguments.to_vec();
    let said = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = [url.as_str()].into_iter().chain(arguments).collect();
        run_script(&packages, script, &arguments, Duration::from_secs(150))
    });
    let said = said.await.expect("the script succeeds");
    assert_eq!(said.matches(" ok\n").count(), steps, "{said}");
}

/// Refuses forms of answers, and keeps to all of Anthropic's rules: thinking goes together with no forced call.
fn refuses_forms_and_force(upstream: &Upstream) {
    upstream.be_strict();
    upstream.refuse("output_config.format", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_runs_tool_loops_through_the_real_cli() {
    behind_couplet("tools.mjs", &[], 5, Upstream::be_strict).await;
}

#[rstest]
#[case::accepted(|_: &Upstream| {}, "")]
#[case::strict(Upstream::be_strict, "temperature")]
#[case::no_form_and_no_force(refuses_forms_and_force, "temperature")]
#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_gets_answers_in_a_form(
    #[case] told: fn(&Upstream),
    #[case] ignored: &'static str,
) {
    behind_couplet("structured.mjs", &[ignored], 6, told).await;
}

#[rstest]
#[case::accepted(|_: &Upstream| {})]
#[case::strict(Upstream::be_strict)]
#[case::no_form_and_no_force(refuses_forms_and_force)]
#[tokio::test(flavor = "multi_thread")]
async fn the_vercel_ai_sdk_gets_objects(#[case] told: fn(&Upstream)) {
    behind_couplet("ai_sdk.mjs", &[], 5, told).await;
}
