//! A coding agent at work.

use std::fs;
use std::time::Duration;

use couplet::upstream::Reply;
use serde_json::{Value, json};

use crate::support::app::Builder;
use crate::support::opencode::{opencode, parts, run_task};
use crate::support::real_cli::real_cli;

/// The plan that the first tool reads is the script of the second call. The conversation's title is asked for at the same
/// time, with the same prompt but no tools, so the prompt itself cannot hold a script.
#[tokio::test(flavor = "multi_thread")]
async fn opencode_runs_a_command_writes_a_file_and_answers() {
    let (Some(cli), Some(program)) = (real_cli(), opencode()) else { return };
    let app = Builder::new(&cli).await.start().await;
    app.upstream.set_default(Reply::agent());
    let folder = tempfile::tempdir().expect("a folder");
    let note = folder.path().join("note.txt");
    let input = json!({"filePath": note, "content": "zw\u{f6}lf \"Zeilen\"\n"});
    fs::write(folder.path().join("plan.txt"), format!("[[tool write {input}]]")).expect("written");

    let base_url = format!("{}/v1", app.url);
    let work = folder.path().to_owned();
    let task = "Run 'cat plan.txt' and do what it says.";
    let ended = tokio::task::spawn_blocking(move || {
        run_task(&program, &work, &base_url, task, Duration::from_secs(120))
    });
    let ended = ended.await.expect("no panic");
    assert!(ended.success, "{ended}");

    let tools: Vec<Value> = parts(&ended, "tool_use");
    let used: Vec<_> = tools.iter().map(|tool| (&tool["tool"], &tool["state"]["status"])).collect();
    assert_eq!(
        used,
        [(&json!("bash"), &json!("completed")), (&json!("write"), &json!("completed"))],
        "{ended}"
    );
    assert_eq!(fs::read_to_string(note).expect("the note"), "zw\u{f6}lf \"Zeilen\"\n");
    let steps = parts(&ended, "step_finish");
    let reasons: Vec<_> = steps.iter().map(|step| &step["reason"]).collect();
    assert_eq!(reasons, ["tool-calls", "tool-calls", "stop"], "{ended}");
    let texts = parts(&ended, "text");
    let text = texts.last().and_then(|part| part["text"].as_str()).unwrap_or_default();
    assert!(text.contains("The tool answered: “Wrote file successfully"), "{ended}");
}
