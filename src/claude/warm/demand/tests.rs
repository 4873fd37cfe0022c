use super::*;
use crate::scope::Scope;
use crate::turn::Parameters;
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds { floor: 3, cap: 8, memory: Duration::from_secs(300) };

fn turn(system: &str) -> Turn {
    Turn {
        model: "m".to_owned(),
        system: system.to_owned(),
        history: Vec::new(),
        question: Vec::new(),
        tools: Vec::new(),
        parameters: Parameters::default(),
    }
}

fn key(system: &str) -> ProfileKey {
    ProfileKey::of(&Scope::anyone(), "credential", &turn(system))
}

fn demand(now: Instant) -> Demand {
    let mut demand = Demand::new(BOUNDS, Floor::Always, now);
    demand.allow_prepared(true);
    demand
}

fn ask(demand: &mut Demand, now: Instant, system: &str) {
    demand.note(now, key(system), &turn(system));
}

/// The plan in words: how many for anything, and for each system prompt.
fn shown(plan: &Plan) -> (usize, Vec<(String, usize)>) {
    let prepared = plan.prepared.iter().map(|(profile, number)| (profile.system.clone(), *number));
    (plan.generic, prepared.collect())
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[tokio::test(start_paused = true)]
async fn before_anything_is_asked_the_floor_waits_for_anything() {
    let now = Instant::now();
    assert_eq!(shown(&demand(now).plan(now)), (3, vec![]));
}

#[tokio::test(start_paused = true)]
async fn two_of_three_wait_for_what_was_asked_and_one_for_anything() {
    let now = Instant::now();
    let mut demand = demand(now);
    ask(&mut demand, now, "a");
    assert_eq!(shown(&demand.plan(now)), (1, vec![("a".to_owned(), 2)]));
    ask(&mut demand, now + seconds(60), "b");
    let plan = demand.plan(now + seconds(60));
    assert_eq!(shown(&plan), (1, vec![("b".to_owned(), 1), ("a".to_owned(), 1)]));
    let number = |of: ProfileKey| {
        plan.prepared.iter().find(|(profile, _)| profile.key == of).map_or(0, |(_, number)| *number)
    };
    assert_eq!((plan.generic, number(key("a")), number(key("c"))), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn places_are_divided_by_use() {
    let now = Instant::now();
    let mut demand = demand(now);
    for (system, times) in [("a", 6), ("b", 3), ("c", 1)] {
        (0..times).for_each(|_| ask(&mut demand, now, system));
    }
    // Eight, as ten were asked at once; five of them divided as 6 : 3 : 1.
    assert_eq!(shown(&demand.plan(now)), (3, vec![("a".to_owned(), 4), ("b".to_owned(), 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_burst_raises_the_number_up_to_the_cap_and_is_forgotten_step_by_step() {
    let now = Instant::now();
    let mut demand = demand(now);
    (0..5).for_each(|_| ask(&mut demand, now, "a"));
    assert_eq!(demand.plan(now).total(), 5);
    (0..20).for_each(|_| ask(&mut demand, now, "a"));
    assert_eq!(demand.plan(now).total(), 8);
    assert_eq!(demand.plan(now + seconds(300)).total(), 8);
    // Half of eight, and then the floor.
    let later = [301, 602, 903].map(|after| demand.plan(now + seconds(after)).total());
    assert_eq!(later, [4, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn prompts_that_are_all_different_are_forgotten_beside_those_that_are_asked_for_more() {
    let now = Instant::now();
    let mut demand = demand(now);
    for popular in 0..2 * KEPT_WHOLE {
        ask(&mut demand, now, &format!("popular {}", popular % KEPT_WHOLE));
    }
    for number in 0..1000 {
        ask(&mut demand, now, &format!("once {number}"));
    }
    assert!(demand.profiles.len() <= COUNTED, "{} are counted", demand.profiles.len());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_set_up_gives_its_place_to_others_until_it_is_asked_for_again() {
    let now = Instant::now();
    let mut demand = demand(now);
    ask(&mut demand, now, "a");
    demand.give_up(key("a"));
    assert_eq!(shown(&demand.plan(now)), (3, vec![]));
    ask(&mut demand, now, "a");
    assert_eq!(shown(&demand.plan(now)), (1, vec![("a".to_owned(), 2)]));
}

#[tokio::test(start_paused = true)]
async fn what_comes_slowly_is_no_burst() {
    let now = Instant::now();
    let mut demand = demand(now);
    for second in 0..60 {
        ask(&mut demand, now + seconds(2 * second), "a");
    }
    assert_eq!(demand.plan(now + seconds(120)).total(), 3);
}

#[tokio::test(start_paused = true)]
async fn late_uses_count_more() {
    let now = Instant::now();
    let mut demand = demand(now);
    (0..8).for_each(|_| ask(&mut demand, now, "old"));
    let later = now + seconds(4 * 600);
    ask(&mut demand, later, "new");
    // Eight uses are worth half of one by now.
    assert_eq!(shown(&demand.plan(later)).1[0].0, "new");
}

#[tokio::test(start_paused = true)]
async fn the_model_that_was_asked_last_is_set_ahead() {
    let now = Instant::now();
    let mut demand = demand(now);
    ask(&mut demand, now, "a");
    demand.note(now, key("a"), &Turn { model: "other".to_owned(), ..turn("a") });
    assert_eq!(demand.plan(now).prepared[0].0.model, "other");
}

#[tokio::test(start_paused = true)]
async fn a_cli_that_cannot_be_set_up_ahead_has_only_processes_for_anything() {
    let now = Instant::now();
    let mut demand = demand(now);
    ask(&mut demand, now, "a");
    demand.allow_prepared(false);
    assert_eq!(shown(&demand.plan(now)), (3, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_huge_prompt_is_not_held_in_memory() {
    let now = Instant::now();
    let mut demand = demand(now);
    ask(&mut demand, now, &"x".repeat(LONGEST + 1));
    assert_eq!(shown(&demand.plan(now)), (3, vec![]));
}

proptest! {
    /// Whatever is asked, and when: the number stays within its bounds, nothing is set up for what was not asked, and what is
    /// remembered is bounded.
    #[test]
    fn plans_and_memory_are_bounded(
        asked in prop::collection::vec((0_u64..120, 0_usize..200), 1..400),
        floor in 0_usize..5,
        more in 0_usize..10,
    ) {
        let start = Instant::now();
        let mut now = start;
        let bounds = Bounds { floor, cap: floor + more, memory: seconds(300) };
        let mut demand = Demand::new(bounds, Floor::Always, start);
        demand.allow_prepared(true);
        for (pause, system) in asked {
            now += seconds(pause);
            ask(&mut demand, now, &system.to_string());
            let plan = demand.plan(now);
            prop_assert!((floor..=floor + more).contains(&plan.total()));
            prop_assert!(plan.total() == 0 || plan.generic > 0);
            prop_assert!(plan.prepared.iter().all(|(profile, number)| *number > 0 && demand.profiles.contains_key(&profile.key)));
            prop_assert!(demand.profiles.len() <= COUNTED);
            prop_assert!(demand.profiles.values().filter(|seen| seen.whole.is_some()).count() <= KEPT_WHOLE);
        }
    }
}

#[test]
fn who_has_a_floor_only_while_it_is_used_has_none_before_and_none_after() {
    let begun = Instant::now();
    let mut demand = Demand::new(BOUNDS, Floor::WhileUsed, begun);
    demand.allow_prepared(true);
    let total = |demand: &mut Demand, at: u64| demand.plan(begun + seconds(at)).total();
    assert_eq!(total(&mut demand, 0), 0, "never used");
    for _ in 0..6 {
        ask(&mut demand, begun + seconds(10), "a");
    }
    assert_eq!(total(&mut demand, 11), 6);
    assert_eq!(total(&mut demand, 310), 6);
    // No burst any more, but it is used: the floor.
    for later in [400, 700, 1_000] {
        demand.note_use(begun + seconds(later));
    }
    assert_eq!(total(&mut demand, 1_100), 3);
    assert_eq!(total(&mut demand, 1_301), 0, "all are gone at once, however many the last burst needed");
    demand.note_use(begun + seconds(1_400));
    assert_eq!(shown(&demand.plan(begun + seconds(1_400))), (3, vec![]), "what was asked for is forgotten");
}
