//! A template as it is run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::functions::Function;
use super::value::Value;

pub(super) type Nodes = Vec<Node>;

/// A template, and those that it defines.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub nodes: Nodes,
    pub defined: BTreeMap<String, Arc<Nodes>>,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(Box<str>),
    /// `in_url`: it stands at the beginning of an attribute that is a URL.
    Print {
        value: Pipeline,
        in_url: bool,
    },
    Set(Pipeline),
    /// `if` and `with`, each with its `else if`s.
    If {
        arms: Vec<Arm>,
        otherwise: Nodes,
    },
    Range {
        over: Pipeline,
        body: Nodes,
        otherwise: Nodes,
    },
    Template {
        name: String,
        dot: Option<Pipeline>,
    },
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Arm {
    pub condition: Pipeline,
    /// `with`: its value becomes the dot.
    pub is_with: bool,
    pub body: Nodes,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    pub target: Option<Target>,
    pub commands: Vec<Command>,
}

/// `$x :=`, `$i, $x :=`, `$x =`
#[derive(Debug)]
pub(super) struct Target {
    pub names: Vec<String>,
    pub declares: bool,
}

#[derive(Debug)]
pub(super) struct Command {
    pub head: Operand,
    pub arguments: Vec<Operand>,
}

/// A value and the fields that are taken of it.
#[derive(Debug)]
pub(super) struct Operand {
    pub base: Base,
    pub path: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Base {
    Constant(Value),
    Dot,
    Variable(String),
    Pipeline(Box<Pipeline>),
    Function(&'static Function),
}

/// Adds the names of the templates that nodes use.
pub(super) fn used<'a>(nodes: &'a [Node], names: &mut Vec<&'a str>) {
    for node in nodes {
        match node {
            Node::Template { name, .. } => names.push(name),
            Node::If { arms, otherwise } => {
                arms.iter().for_each(|arm| used(&arm.body, names));
                used(otherwise, names);
            }
            Node::Range { body, otherwise, .. } => {
                used(body, names);
                used(otherwise, names);
            }
            _ => {}
        }
    }
}
