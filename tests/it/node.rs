//! Tests with Node.js clients, the official `openai` package above all.

use std::time::Duration;

use crate::support::app::Builder;
use crate::support::node::{node_packages, run_script};
use crate::support::real_cli::real_cli;

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_runs_tool_loops_through_the_real_cli() {
    let Some(cli) = real_cli() else { return };
    let packages = node_packages();
    let app = Builder::new(&cli).await.start().await;
    let url = app.url.clone();
    let said = tokio::task::spawn_blocking(move || {
        run_script(&packages, "tools.mjs", &[&url], Duration::from_secs(150))
    });
    let said = said.await.expect("the script succeeds");
    assert_eq!(said.matches(" ok\n").count(), 5, "{said}");
}
