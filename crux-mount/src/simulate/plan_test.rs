//! The planner against the model: what is planned is what was recorded.
//!
//! Kind: pure.

use super::simulate;
use crate::arbitrary::{equal_up_to_ids, mounts};
use crate::plan::plan;
use proptest::prelude::*;

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
}
