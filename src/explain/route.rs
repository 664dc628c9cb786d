//! The way of an alert through the tree of routes, with what held and what did not.

use crate::labels::Labels;
use crate::route::Route;

/// Nodes that are shown; a tree may have thousands, of which few matter.
const STEPS: usize = 200;

/// What became of an alert at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is told here.
    Taken,
    /// A route below takes it.
    PassedOn,
    /// A matcher does not hold.
    Differs,
}

/// One node on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// How deep; the root is 0.
    pub depth: usize,
    /// Identity of the route.
    pub key: String,
    /// The receiver's name.
    pub receiver: String,
    /// Its matchers, each with the alert's value and whether it holds.
    pub matchers: Vec<(String, String, bool)>,
    /// What became of the alert.
    pub outcome: Outcome,
    /// Whether routes after it were asked too.
    pub continues: bool,
}

impl Outcome {
    /// As JSON has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Taken => "taken",
            Outcome::PassedOn => "passed_on",
            Outcome::Differs => "differs",
        }
    }
}

/// All nodes that are asked, in their order: [`Route::matching`] with its reasons.
pub(super) fn walk(root: &Route, labels: &Labels) -> Vec<Step> {
    let mut steps = Vec::new();
    visit(root, labels, 0, &mut steps);
    if steps.len() > STEPS {
        // Those that took it on its way are never left out.
        let mut room = STEPS;
        steps.retain(|step| {
            let kept = step.outcome != Outcome::Differs || room > 0;
            room = room.saturating_sub(1);
            kept
        });
    }
    steps
}

fn visit(route: &Route, labels: &Labels, depth: usize, steps: &mut Vec<Step>) -> bool {
    let held = |name: &str, holds: bool, text: String| (text, labels.get(name).to_owned(), holds);
    let matchers: Vec<_> = route
        .matchers
        .0
        .iter()
        .map(|matcher| held(&matcher.name, matcher.matches(labels.get(&matcher.name)), matcher.to_string()))
        .collect();
    let holds = depth == 0 || matchers.iter().all(|(_, _, holds)| *holds);
    let (key, receiver, continues) = (route.key.clone(), route.receiver.clone(), route.continues);
    let own = steps.len();
    steps.push(Step { depth, key, receiver, matchers, outcome: Outcome::Differs, continues });
    if !holds {
        return false;
    }
    let mut below = false;
    for child in &route.routes {
        let taken = visit(child, labels, depth + 1, steps);
        below |= taken;
        if taken && !child.continues {
            break;
        }
    }
    steps[own].outcome = if below { Outcome::PassedOn } else { Outcome::Taken };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Matchers;

    fn route(matchers: &str, continues: bool, routes: Vec<Route>) -> Route {
        let matchers = if matchers.is_empty() { Matchers::default() } else { Matchers::parse(matchers).unwrap() };
        Route { key: format!("{{}}/{matchers}"), receiver: matchers.to_string(), matchers, continues, routes, ..Route::default() }
    }

    #[test]
    fn what_is_taken_is_what_the_router_takes() {
        let tree = route(
            "",
            false,
            vec![
                route("team=a", true, vec![route("tier=1", false, vec![]), route("tier=~\".*\"", false, vec![])]),
                route("team=~\"a|b\"", false, vec![route("tier!=1", false, vec![])]),
                route("team=b", false, vec![]),
            ],
        );
        for team in ["", "a", "b", "c"] {
            for tier in ["", "1", "2"] {
                let labels: Labels = [("team", team), ("tier", tier)].into_iter().collect();
                let steps = walk(&tree, &labels);
                let taken: Vec<&str> =
                    steps.iter().filter(|step| step.outcome == Outcome::Taken).map(|step| step.receiver.as_str()).collect();
                let expected: Vec<&str> = tree.matching(&labels).iter().map(|route| route.receiver.as_str()).collect();
                assert_eq!(taken, expected, "{labels}");
            }
        }
    }

    #[test]
    fn of_many_routes_those_that_matter_are_shown() {
        let mut routes: Vec<Route> = (0..1_000).map(|n| route(&format!("team=x{n}"), false, vec![])).collect();
        routes.push(route("team=a", false, vec![]));
        let tree = route("", false, routes);
        let labels: Labels = [("team", "a")].into_iter().collect();
        let steps = walk(&tree, &labels);
        assert!(steps.len() <= STEPS + 2, "{}", steps.len());
        assert_eq!(steps.last().unwrap().outcome, Outcome::Taken);
    }
}
