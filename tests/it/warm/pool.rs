//! How many wait, for what, and how long.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use couplet::claude::warm::WarmLimits;
use rstest::rstest;
use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, app, app_with, question, recital, reciting, wait_for, waiting};
use crate::support::fake_cli::script::{OnControl, Script, Step};
use crate::support::fake_cli::{FakeCli, eventually, play};

/// Within this a process is gone after its end was decided.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_question_finds_a_process_that_was_there_before_it_and_another_takes_its_place() {
    let fake = reciting("none", vec![]);
    let app = app(&fake, waiting(3, 8)).await;
    wait_for(&app, (3, 0)).await;
    let before: HashSet<u32> = fake.living().into_iter().collect();
    let answered = recital(&app, &question(Some("be brief"), &[])).await;
    assert!(before.contains(&answered.process_id));
    assert_eq!((answered.system.as_str(), answered.tools.len()), ("be brief", 0));
    // It is set up as that one was; the others wait on: a start costs more than a wrong guess.
    wait_for(&app, (2, 1)).await;
    eventually(SOON, "no more than those live", || fake.living().len() == 3).await;
}

#[tokio::test]
async fn what_was_asked_before_finds_a_process_that_is_set_up_for_it() {
    let fake = reciting("none", vec![]);
    let app = app(&fake, waiting(3, 8)).await;
    recital(&app, &question(Some("be brief"), &["f", "g"])).await;
    wait_for(&app, (1, 2)).await;
    let before: HashSet<u32> = fake.living().into_iter().collect();
    fake.forget_reports();
    let answered = recital(&app, &question(Some("be brief"), &["f", "g"])).await;
    assert!(before.contains(&answered.process_id));
    assert_eq!(
        (answered.system.as_str(), answered.tools),
        ("be brief", vec!["f".to_owned(), "g".to_owned()])
    );
}

#[rstest]
#[case::none_after_none(&[], &[])]
#[case::some_after_none(&[], &["f"])]
#[case::others_after_some(&["f"], &["g", "h"])]
#[case::none_after_some(&["f"], &[])]
#[tokio::test]
async fn tools_are_those_of_the_question_whatever_was_set_up_ahead(
    #[case] before: &[&str],
    #[case] now: &[&str],
) {
    let fake = reciting("none", vec![]);
    let app = app(&fake, waiting(3, 8)).await;
    recital(&app, &question(Some("be brief"), before)).await;
    wait_for(&app, (1, 2)).await;
    let answered = recital(&app, &question(Some("be brief"), now)).await;
    assert_eq!(
        (answered.system.as_str(), answered.tools),
        ("be brief", now.iter().map(|name| (*name).to_owned()).collect())
    );
}

#[tokio::test]
async fn nobody_gets_a_process_that_is_set_up_for_somebody_else() {
    let fake = reciting("none", vec![]);
    let builder_keys = ["key-of-a-0123456789", "key-of-b-0123456789"];
    let app = app_with(&fake, waiting(3, 8), |config| {
        config.access.keys = builder_keys.iter().map(|key| (*key).into()).collect();
    })
    .await;
    let ask = async |key: &str| {
        let request = app.post("/v1/chat/completions").bearer_auth(key);
        let response = request.json(&question(Some("a secret of a"), &[])).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
    };
    // The processes that were given that system prompt, and those that were asked.
    let heard = |word: &str| -> HashSet<u32> {
        let has_heard = |id: &u32| {
            std::fs::read_to_string(fake.file(&format!("{id}.stdin"))).is_ok_and(|said| said.contains(word))
        };
        fake.reports().into_iter().map(|report| report.process_id).filter(has_heard).collect()
    };
    ask(builder_keys[0]).await;
    wait_for(&app, (1, 2)).await;
    let (set_up_for_a, asked_by_a) = (heard("a secret of a"), heard("hello"));
    // The one for anything serves b, and one of those for a gives its place to one for b.
    ask(builder_keys[1]).await;
    let asked_by_b: HashSet<u32> = heard("hello").difference(&asked_by_a).copied().collect();
    assert_eq!((asked_by_b.len(), asked_by_b.is_disjoint(&set_up_for_a)), (1, true));
    wait_for(&app, (1, 2)).await;
    let log = fake.reports().len();
    assert!(log >= 5, "{log} processes: one of each for a and b answered, and three wait");
}

#[rstest]
#[case::for_anything(None)]
#[case::for_a_system_prompt(Some("be brief"))]
#[tokio::test]
async fn one_that_dies_while_it_waits_is_replaced(#[case] system: Option<&str>) {
    let fake = reciting("none", vec![]);
    let app = app(&fake, waiting(3, 3)).await;
    let wanted = if system.is_some() { (1, 2) } else { (3, 0) };
    if system.is_some() {
        recital(&app, &question(system, &[])).await;
    }
    wait_for(&app, wanted).await;
    let before: HashSet<u32> = fake.living().into_iter().collect();
    for id in &before {
        let id = Pid::from_raw(i32::try_from(*id).expect("an id")).expect("an id");
        kill_process(id, Signal::KILL).expect("it lived");
    }
    // Nobody notices.
    assert!(!before.contains(&recital(&app, &question(system, &[])).await.process_id));
    eventually(PATIENCE, "three others live", || {
        let now: HashSet<u32> = fake.living().into_iter().collect();
        now.len() == 3 && now.is_disjoint(&before)
    })
    .await;
}

#[rstest]
#[case::for_anything(None)]
#[case::for_a_system_prompt(Some("be brief"))]
#[tokio::test]
async fn one_that_dies_of_its_question_costs_nobody_an_answer(#[case] system: Option<&str>) {
    let fake = reciting("none", vec![]);
    let app = app(&fake, waiting(2, 2)).await;
    recital(&app, &question(system, &[])).await;
    wait_for(&app, (1, 1)).await;
    let dead = fake.file("dead");
    let die_once = Step::Once { file: dead.clone(), steps: vec![Step::Die] };
    let recite = vec![die_once, Step::Recite("fine".to_owned())];
    fake.follow(&Script { plays: vec![play("", recite)], ..Script::default() });
    recital(&app, &question(system, &[])).await;
    assert!(dead.exists());
}

#[tokio::test]
async fn a_cli_that_does_not_start_is_tried_less_and_less_often_and_found_again() {
    let broken = Script { at_start: vec![Step::Exit(1)], ..Script::default() };
    let fake = FakeCli::new(&broken);
    let app = app(&fake, waiting(3, 8)).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let tries = fake.reports().len();
    assert!((1..=3).contains(&tries), "{tries} tries in 2.5 s");
    fake.follow(&Script::default());
    wait_for(&app, (3, 0)).await;
}

#[tokio::test]
async fn a_burst_makes_more_wait_and_after_a_while_they_go() {
    let fake = reciting("none", vec![]);
    let limits = WarmLimits { idle: Duration::from_secs(2), ..waiting(2, 6) };
    let app = app(&fake, limits).await;
    wait_for(&app, (2, 0)).await;
    let request = question(None, &[]);
    let burst = (0..9).map(|_| recital(&app, &request));
    futures_util::future::join_all(burst).await;
    wait_for(&app, (2, 4)).await;
    wait_for(&app, (1, 1)).await;
    eventually(SOON, "two live", || fake.living().len() == 2).await;
}

#[tokio::test]
async fn none_waits_longer_than_it_may() {
    let fake = reciting("none", vec![]);
    let limits = WarmLimits { max_age: Duration::from_secs(1), ..waiting(2, 2) };
    let app = app(&fake, limits).await;
    wait_for(&app, (2, 0)).await;
    let before: HashSet<u32> = fake.living().into_iter().collect();
    eventually(PATIENCE, "two others live", || {
        let now: HashSet<u32> = fake.living().into_iter().collect();
        now.len() == 2 && now.is_disjoint(&before)
    })
    .await;
}

#[tokio::test]
async fn without_a_pool_each_conversation_has_a_process_started_for_it() {
    let fake = reciting("none", vec![]);
    let app = app(&fake, waiting(3, 0)).await;
    recital(&app, &question(None, &[])).await;
    recital(&app, &question(None, &[])).await;
    fake.gone_within(SOON).await;
    assert_eq!(fake.reports().len(), 2);
}

#[rstest]
#[case::ready(vec![])]
#[case::being_started(vec![Step::Hang])]
#[tokio::test]
async fn a_server_with_processes_that_wait_stops_at_once(#[case] at_start: Vec<Step>) {
    let is_ready = at_start.is_empty();
    let fake = FakeCli::new(&Script { at_start, ..Script::default() });
    let mut app = app_with(&fake, waiting(3, 8), |config| config.shutdown_grace = PATIENCE).await;
    if is_ready {
        wait_for(&app, (3, 0)).await;
    } else {
        eventually(PATIENCE, "one is being started", || !fake.living().is_empty()).await;
    }
    let begun = Instant::now();
    app.shut_down().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    fake.gone_within(SOON).await;
}

#[tokio::test]
async fn a_process_that_is_on_its_way_serves_the_question_that_comes_meanwhile() {
    let fake = FakeCli::new(&Script::default());
    let go = fake.file("go");
    let late = Script { at_start: vec![Step::AwaitFile(go.clone())], ..Script::default() };
    fake.follow(&late);
    let app = app(&fake, waiting(1, 1)).await;
    eventually(PATIENCE, "one is on its way", || fake.reports().len() == 1).await;
    let request = question(Some("be brief"), &["f"]);
    let answer = app.answer(&request);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => panic!("no answer was to come, but {answer:?}"),
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
    }
    std::fs::write(go, "").expect("a file");
    assert_eq!(answer.await.0, 200);
    let asked: Vec<_> = fake.reports().into_iter().map(|report| report.process_id).collect();
    let heard = asked.iter().filter(|id| {
        std::fs::read_to_string(fake.file(&format!("{id}.stdin"))).is_ok_and(|said| said.contains("hello"))
    });
    // The first of them, which was not started for it.
    assert_eq!(heard.count(), 1);
}

#[tokio::test]
async fn nothing_of_an_answer_is_lost_in_a_process_that_is_taken_before_its_set_up_is_over() {
    let fake = reciting("none", vec![]);
    let app = app(&fake, waiting(2, 2)).await;
    wait_for(&app, (2, 0)).await;
    let request = question(Some("be brief"), &[]);
    recital(&app, &request).await;
    wait_for(&app, (1, 1)).await;
    let before: HashSet<u32> = fake.living().into_iter().collect();
    let go = fake.file("go");
    let late = OnControl::After(vec![Step::AwaitFile(go.clone())]);
    let recite = vec![Step::Recite("fine".to_owned())];
    let plays = vec![play("", recite)];
    fake.follow(&Script { controls: [("initialize".to_owned(), late)].into(), plays, ..Script::default() });
    // Those that wait are taken; the next one is being set up, and is not done with it.
    tokio::join!(recital(&app, &request), recital(&app, &request));
    let begun = Instant::now();
    // It has read what it is to be, and does not answer.
    let is_set_up = |id: &u32| {
        let heard = std::fs::read_to_string(fake.file(&format!("{id}.stdin"))).unwrap_or_default();
        !before.contains(id) && heard.contains(r#""subtype":"initialize""#)
    };
    let starting: HashSet<u32> = loop {
        let counts = app.health().await["processes"].clone();
        let starting: HashSet<u32> = fake.living().into_iter().filter(is_set_up).collect();
        if counts["starting"] == 1 && !starting.is_empty() {
            break starting;
        }
        assert!(begun.elapsed() < PATIENCE, "{counts} {starting:?}");
    };
    let answer = recital(&app, &request);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => panic!("no answer was to come, but {answer:?}"),
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
    }
    std::fs::write(go, "").expect("a file");
    assert!(starting.contains(&answer.await.process_id));
}
