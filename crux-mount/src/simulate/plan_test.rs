//! The planner against the model: what is planned is what was recorded.
//!
//! Kind: pure.

use super::scene::{enter, image, made};
use super::{Rule, simulate};
use crate::arbitrary::{equal_up_to_ids, mounts};
use crate::plan::{CheckError, Plan, Planning, Step, plan};
use crux_image::mounts::Mounts;
use proptest::prelude::*;
use std::convert::Infallible;

/// What becomes of batches that come from elsewhere; all of them are taken.
fn received(mounts: &Mounts, batches: Vec<Vec<Step>>) -> Result<Plan, CheckError> {
    let mut batches = batches.into_iter();
    let Ok(plan) = Plan::received(mounts, || Ok::<_, Infallible>(batches.next()));
    assert_eq!(batches.next(), None);
    plan
}

#[test]
fn a_wrong_step_is_named_by_its_place_in_the_whole_plan() {
    let first = made();
    let steps = first.len();
    let wrong = vec![Step::ReturnToYard, enter(0)];
    let Err(CheckError::Simulation(error)) = received(&image(), vec![first, wrong, vec![]]) else {
        panic!("the yard was never left");
    };
    assert_eq!((error.step, &*error.what), (steps, "return to the yard"));
}

/// All that comes of the plan is the record; but one step more is there, that does what no plan may do.
#[test]
fn a_wrong_step_is_refused_where_everything_else_is_right() {
    let image = image();
    let whole: Vec<Step> = plan(&image).unwrap().steps().cloned().collect();
    let steps = whole.len();
    assert!(received(&image, vec![whole.clone()]).is_ok());
    let Err(CheckError::Simulation(error)) = received(&image, vec![whole, vec![Step::EnterYard]])
    else {
        panic!("a second yard");
    };
    assert_eq!((error.step, error.rule), (steps, Rule::SecondYard));
}

#[test]
fn a_plan_that_ends_early_is_none() {
    let refused = received(&image(), vec![made()]);
    assert!(
        matches!(refused, Err(CheckError::Simulation(_))),
        "{refused:?}"
    );
}

#[test]
fn a_failure_to_receive_is_passed_on() {
    let mut batches = vec![Err("gone"), Ok(Some(made()))];
    let failed = Plan::received(&image(), || batches.pop().unwrap());
    assert_eq!(failed, Err("gone"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_makes_what_was_recorded(recorded in mounts()) {
        let plan = plan(&recorded).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let made = simulate(&recorded, plan.steps());
        let made = made.map_err(|e| TestCaseError::fail(format!("{e}\n{plan}")))?;
        let equal = equal_up_to_ids(&recorded, &made);
        prop_assert_eq!(equal, Ok(()), "{}", plan);
    }

    #[test]
    fn a_plan_that_comes_in_batches_is_the_same(recorded in mounts()) {
        let whole = plan(&recorded).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut batches = Vec::new();
        let planning = Planning::begin(&recorded).map_err(|e| TestCaseError::fail(e.to_string()))?;
        planning.each(&mut |batch| batches.push(batch));
        let plan = received(&recorded, batches).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(plan.steps().eq(whole.steps()));
    }
}
