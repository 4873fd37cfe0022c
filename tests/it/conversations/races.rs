//! Several requests for one process.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Dialogue, app, health, heard, questions, texts};
use crate::support::app::said;
use crate::support::couplet_process::streamed;

const SIDE_BY_SIDE: usize = 4;

#[tokio::test]
async fn of_the_same_request_at_the_same_moment_one_goes_on_and_the_others_are_laid_down() {
    let Some(app) = app().await else { return };
    let mut dialogue = Dialogue::new(&json!({}));
    dialogue.say(&app, "[[say hello]]").await;
    let first = heard(&app.upstream, "[[say hello]]").process;
    let request = dialogue.asking("[[first 0.2]][[say all the same]]");
    let answers = join_all((0..SIDE_BY_SIDE).map(|_| app.answer(&request))).await;
    assert!(answers.iter().all(|answer| said(answer) == "all the same"));
    let heard: Vec<_> = questions(&app.upstream, "[[first 0.2]][[say all the same]]").collect();
    assert_eq!(heard.len(), SIDE_BY_SIDE);
    assert!(heard.iter().all(|heard| heard.turns == texts(&request)));
    let processes: HashSet<&str> = heard.iter().map(|heard| &*heard.process).collect();
    assert_eq!(processes.len(), SIDE_BY_SIDE, "no two in one process");
    assert!(processes.contains(&*first), "and one where the conversation was");
    assert_eq!(health(&app, "/processes/live").await, SIDE_BY_SIDE as u64);
}

#[tokio::test]
async fn different_questions_at_the_same_moment_get_each_its_own_answer() {
    let Some(app) = app().await else { return };
    let mut dialogue = Dialogue::new(&json!({}));
    dialogue.say(&app, "[[say hello]]").await;
    let first = heard(&app.upstream, "[[say hello]]").process;
    let questions: Vec<String> = (0..SIDE_BY_SIDE).map(|number| format!("[[say answer {number}]]")).collect();
    let requests: Vec<Value> = questions.iter().map(|question| dialogue.asking(question)).collect();
    let answers = join_all(requests.iter().map(|request| app.answer(request))).await;
    let mut went_on = 0;
    for (number, question) in questions.iter().enumerate() {
        assert_eq!(said(&answers[number]), format!("answer {number}"));
        let heard = heard(&app.upstream, question);
        assert_eq!(heard.turns, texts(&requests[number]));
        went_on += usize::from(heard.process == first);
    }
    assert_eq!(went_on, 1);
}

#[tokio::test]
async fn an_answer_can_be_regenerated_and_each_of_them_gone_on_from() {
    let Some(app) = app().await else { return };
    let mut dialogue = Dialogue::new(&json!({}));
    dialogue.say(&app, "[[say hello]]").await;
    let mut forks = [dialogue.clone(), dialogue];
    for fork in &mut forks {
        // The words are in one answer and not in the other.
        app.upstream
            .push_reply(couplet::upstream::Reply::text(format!("take {}", app.upstream.log().model_count())));
        fork.say(&app, "tell me").await;
    }
    assert_ne!(forks[0].request, forks[1].request);
    let mut told: Vec<String> = questions(&app.upstream, "tell me").map(|heard| heard.process).collect();
    assert_eq!(told.len(), 2);
    told.reverse();
    assert_ne!(told[0], told[1]);
    for (number, fork) in forks.iter_mut().enumerate().rev() {
        let question = format!("[[words 1]] fork {number}");
        fork.say(&app, &question).await;
        let heard = heard(&app.upstream, &question);
        assert_eq!(heard.process, told[number], "each goes on where its own answer was given");
        let mut sent = texts(&fork.request);
        sent.pop();
        assert_eq!(heard.turns, sent);
    }
}

#[tokio::test]
async fn whoever_leaves_at_any_moment_spoils_nothing_for_the_next() {
    let Some(app) = app().await else { return };
    for milliseconds in [0, 4, 25] {
        let mut dialogue = Dialogue::new(&json!({}));
        dialogue.say(&app, &format!("[[say hello]] {milliseconds}")).await;
        let half = format!("[[words 50]][[slow 0.01]] {milliseconds}");
        let request = streamed(&dialogue.asking(&half));
        let leave = tokio::time::sleep(std::time::Duration::from_millis(milliseconds));
        tokio::select! {
            () = leave => {}
            answer = async { app.chat(&request).await.bytes().await } => panic!("it takes half a second: {answer:?}"),
        }
        let question = format!("[[say well]] after {milliseconds}");
        assert_eq!(dialogue.say(&app, &question).await, "well");
        let mut sent = texts(&dialogue.request);
        sent.pop();
        assert_eq!(heard(&app.upstream, &question).turns, sent, "{milliseconds} ms");
    }
}
