//! How answers end: stop reasons, failures, interrupts.

use std::time::Duration;

use super::laboratory::{Laboratory, expect, question};
use super::{Check, Finding};
use crate::claude::answer::{AnswerEvent, StopReason};
use crate::claude::failure::TurnFailure;
use crate::scope::Scope;

pub(super) const CHECKS: [Check; 6] = [
    Check {
        name: "length",
        needs: "after max_tokens and a full context the model is not asked again",
        run: |lab| Box::pin(length(lab)),
    },
    Check {
        name: "refusal",
        needs: "after a refusal the model is not asked again",
        run: |lab| Box::pin(refusal(lab)),
    },
    Check {
        name: "empty answer",
        needs: "after an answer without text the model is not asked again",
        run: |lab| Box::pin(empty(lab)),
    },
    Check {
        name: "errors",
        needs: "each error of the API keeps its meaning",
        run: |lab| Box::pin(errors(lab)),
    },
    Check {
        name: "broken answer",
        needs: "an answer that breaks off is an error, with no text twice",
        run: |lab| Box::pin(broken(lab)),
    },
    Check {
        name: "interrupt",
        needs: "an answer nobody reads is ended within a second",
        run: |lab| Box::pin(interrupt(lab)),
    },
];

async fn length(lab: &Laboratory) -> Finding {
    let reasons =
        [("max_tokens", StopReason::MaxTokens), ("model_context_window_exceeded", StopReason::ContextWindow)];
    for (word, reason) in reasons {
        ends_once(lab, &format!("[[words 3]][[stop {word}]]"), reason).await?;
    }
    Ok("it is stopped in time".to_owned())
}

async fn refusal(lab: &Laboratory) -> Finding {
    ends_once(lab, "[[words 3]][[stop refusal]]", StopReason::Refusal).await
}

async fn empty(lab: &Laboratory) -> Finding {
    ends_once(lab, "[[empty]]", StopReason::EndTurn).await
}

async fn ends_once(lab: &Laboratory, prompt: &str, reason: StopReason) -> Finding {
    // Slow enough for a second answer to be seen cut off.
    let trial = lab.ask(question(&format!("{prompt}[[first 0.2]]"))).await;
    expect("stop reason", &trial.end()?.reason, &reason)?;
    trial.asked_once()
}

async fn errors(lab: &Laboratory) -> Finding {
    let cases = [
        ("[[err 400 invalid_request_error]]", "api_invalid_request"),
        ("[[err 401 authentication_error]]", "api_authentication"),
        ("[[err 403 permission_error]]", "api_permission"),
        ("[[err 404 not_found_error]]", "api_model_not_found"),
        ("[[err 413 request_too_large]]", "api_request_too_large"),
        ("[[err 429 rate_limit_error]]", "api_rate_limited"),
        ("[[err 500 api_error]]", "api_server"),
        ("[[err 529 overloaded_error]]", "api_overloaded"),
        ("[[err 400 invalid_request_error prompt is too long: 9 tokens > 8 maximum]]", "api_prompt_too_long"),
    ];
    for (prompt, kind) in cases {
        match lab.ask(question(prompt)).await.end {
            Err(failure) => expect(prompt, &failure.kind(), &kind)?,
            Ok(_) => return Err(format!("{prompt}: no error")),
        };
    }
    // The last one: a usage limit is remembered.
    match lab.ask(question("[[limit 1]]")).await.end {
        Err(TurnFailure::UsageLimit { resets_at: Some(_), .. }) => {}
        end => return Err(format!("a usage limit: {end:?}")),
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    Ok(format!("{} errors and a usage limit with its reset", cases.len()))
}

async fn broken(lab: &Laboratory) -> Finding {
    for prompt in ["[[words 6]][[cut 3]]", "[[words 6]][[errevent 3 overloaded_error]]"] {
        let trial = lab.ask(question(prompt)).await;
        if let Ok(end) = trial.end {
            return Err(format!("{prompt}: it ended as {:?}", end.reason));
        }
        expect("text before the break", &trial.texts.concat().as_str(), &"w0 w1 w2 ")?;
    }
    Ok("told apart from an end".to_owned())
}

async fn interrupt(lab: &Laboratory) -> Finding {
    let index = lab.upstream().log().count();
    let mut answer = lab.claude().answer(Scope::anyone(), question("[[words 1000]][[slow 0.05]]"));
    loop {
        match answer.next().await {
            Ok(AnswerEvent::Text(_)) => break,
            Ok(_) => {}
            Err(failure) => return Err(failure.to_string()),
        }
    }
    let left = std::time::Instant::now();
    drop(answer);
    let gone = lab.upstream().log().wait_for_disconnect(index, Duration::from_secs(1)).await;
    gone.map(|_| format!("within {} ms", left.elapsed().as_millis())).map_err(|error| error.to_string())
}
