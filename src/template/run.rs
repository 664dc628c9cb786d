//! Runs a template. However it is written it ends: each step and each byte costs, and what it may cost is bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::functions::{Function, MAX_TEXT_BYTES};
use super::tree::{Arm, Base, Command, Node, Nodes, Operand, Pipeline};
use super::value::Value;
use super::words;
use crate::time::Time;

/// What one rendering may cost, in steps and bytes: ten thousand alerts with a kilobyte of text each, and a moment at most.
const BUDGET: usize = 16_000_000;

/// Blocks, parentheses and templates within each other, counted as they run.
const MAX_DEPTH: usize = 128;

/// What making a regular expression costs, and how large it may be.
const REGEX_COST: usize = 4_000;
const REGEX_BYTES: usize = 256 * 1024;

/// What is done to what an action prints.
#[derive(Clone, Copy, Debug, Default)]
pub enum Escape {
    /// Nothing.
    #[default]
    None,
    /// It is for HTML: nothing in it is markup, and a URL from it is http(s) or mailto.
    Html,
    /// What the receiver asks for.
    With(fn(&str) -> String),
}

/// A template while it runs.
pub(super) struct Run<'a> {
    pub now: Time,
    defined: &'a [&'a BTreeMap<String, Arc<Nodes>>],
    escape: Escape,
    out: String,
    left: usize,
    depth: usize,
    variables: Vec<(&'a str, Value)>,
    regexes: HashMap<String, Regex>,
}

/// Whether the rest of a block is run.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'a> Run<'a> {
    pub fn new(defined: &'a [&'a BTreeMap<String, Arc<Nodes>>], escape: Escape, now: Time) -> Run<'a> {
        let (variables, regexes) = (Vec::new(), HashMap::new());
        Run { now, defined, escape, out: String::new(), left: BUDGET, depth: 0, variables, regexes }
    }

    /// Renders with these variables and `dot`, which is `$` too.
    pub fn render(mut self, nodes: &'a Nodes, dot: &Value, variables: Vec<(&'a str, Value)>) -> Result<String, String> {
        self.variables = variables;
        self.variables.push(("$", dot.clone()));
        self.nodes(nodes, dot)?;
        Ok(self.out)
    }

    fn spend(&mut self, cost: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(cost).ok_or("the template does too much, or its text is too long")?;
        Ok(())
    }

    /// What a value costs as text; not all of it is looked at where it is too much.
    fn charge(&mut self, value: &Value) -> Result<(), String> {
        self.spend(value.size(self.left.saturating_add(1)))
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth >= MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} blocks and templates within each other"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Value) -> Result<Flow, String> {
        let kept = self.variables.len();
        let flow = self.deeper(|run| {
            for node in nodes {
                match run.node(node, dot)? {
                    Flow::On => {}
                    flow => return Ok(flow),
                }
            }
            Ok(Flow::On)
        });
        self.variables.truncate(kept);
        flow
    }

    fn node(&mut self, node: &'a Node, dot: &Value) -> Result<Flow, String> {
        self.spend(1)?;
        match node {
            Node::Text(text) => {
                self.spend(text.len())?;
                self.out += text;
            }
            Node::Print { value, in_url } => {
                let value = self.pipeline(value, dot)?;
                self.print(&value, *in_url)?;
            }
            Node::Set(pipeline) => drop(self.pipeline(pipeline, dot)?),
            Node::If { arms, otherwise } => return self.choose(arms, otherwise, dot),
            Node::Range { over, body, otherwise } => return self.range(over, body, otherwise, dot),
            Node::Template { name, dot: given } => {
                let given = given.as_ref().map_or(Ok(Value::Nil), |given| self.pipeline(given, dot))?;
                self.template(name, &given)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn print(&mut self, value: &Value, in_url: bool) -> Result<(), String> {
        let text = self.bounded(value)?;
        let escaped = match (value, self.escape) {
            (Value::Safe(_), _) | (_, Escape::None) => text,
            (_, Escape::Html) if in_url && !is_harmless_url(&text) => "#".to_owned(),
            (_, Escape::Html) => words::escape_html(&text),
            (_, Escape::With(escape)) => escape(&text),
        };
        self.spend(escaped.len())?;
        self.out += &escaped;
        Ok(())
    }

    /// A value as text, where it is not too long to be told.
    fn bounded(&mut self, value: &Value) -> Result<String, String> {
        self.charge(value)?;
        let text = value.to_string();
        if text.len() > MAX_TEXT_BYTES { Err("a text of more than a megabyte".to_owned()) } else { Ok(text) }
    }

    fn choose(&mut self, arms: &'a [Arm], otherwise: &'a Nodes, dot: &Value) -> Result<Flow, String> {
        // A variable of a condition is known up to the `end`.
        let kept = self.variables.len();
        for arm in arms {
            let value = self.pipeline(&arm.condition, dot)?;
            if value.is_true() {
                let flow = self.nodes(&arm.body, if arm.is_with { &value } else { dot });
                self.variables.truncate(kept);
                return flow;
            }
        }
        let flow = self.nodes(otherwise, dot);
        self.variables.truncate(kept);
        flow
    }

    fn range(&mut self, over: &'a Pipeline, body: &'a Nodes, otherwise: &'a Nodes, dot: &Value) -> Result<Flow, String> {
        let kept = self.variables.len();
        let entries = self.commands(&over.commands, dot)?.entries()?;
        if entries.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let names: Vec<&'a str> = over.target.iter().flat_map(|target| &target.names).map(String::as_str).collect();
        let declares = over.target.as_ref().is_some_and(|target| target.declares);
        for (key, item) in entries {
            self.spend(1)?;
            match (names.as_slice(), declares) {
                ([name], true) => self.variables.push((name, item.clone())),
                ([first, second], true) => self.variables.extend([(*first, key), (*second, item.clone())]),
                ([name], false) => self.assign(name, item.clone()),
                ([first, second], false) => {
                    self.assign(first, key);
                    self.assign(second, item.clone());
                }
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(kept);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn template(&mut self, name: &str, dot: &Value) -> Result<(), String> {
        let nodes =
            self.defined.iter().find_map(|defined| defined.get(name)).ok_or_else(|| format!("there is no template `{name}`"))?;
        let nodes: &'a Nodes = nodes;
        let outer = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let done = self.nodes(nodes, dot);
        self.variables = outer;
        done.map(drop)
    }

    fn assign(&mut self, name: &str, value: Value) {
        if let Some((_, variable)) = self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            *variable = value;
        }
    }

    fn pipeline(&mut self, pipeline: &'a Pipeline, dot: &Value) -> Result<Value, String> {
        let value = self.commands(&pipeline.commands, dot)?;
        if let Some(target) = &pipeline.target {
            for name in &target.names {
                if target.declares {
                    self.variables.push((name, value.clone()));
                } else {
                    self.assign(name, value.clone());
                }
            }
        }
        Ok(value)
    }

    fn commands(&mut self, commands: &'a [Command], dot: &Value) -> Result<Value, String> {
        let mut piped = None;
        for command in commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        Ok(piped.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &'a Command, piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        self.spend(1)?;
        match &command.head.base {
            Base::Function(function) if matches!(function.name, "and" | "or") => {
                self.until(function.name == "or", &command.arguments, piped, dot)
            }
            Base::Function(function) => {
                let arguments = self.arguments(&command.arguments, piped, dot)?;
                self.call(function, &arguments)
            }
            _ => {
                let arguments = self.arguments(&command.arguments, piped, dot)?;
                self.operand(&command.head, &arguments, dot)
            }
        }
    }

    fn arguments(&mut self, operands: &'a [Operand], piped: Option<Value>, dot: &Value) -> Result<Vec<Value>, String> {
        let mut values = operands.iter().map(|operand| self.operand(operand, &[], dot)).collect::<Result<Vec<_>, _>>()?;
        values.extend(piped);
        Ok(values)
    }

    fn call(&mut self, function: &Function, arguments: &[Value]) -> Result<Value, String> {
        for argument in arguments {
            match function.name {
                // These look at no more than the items.
                "index" | "len" | "not" | "slice" => self.spend(argument.count().unwrap_or(1))?,
                _ => self.charge(argument)?,
            }
        }
        if let ("join", [separator, list]) = (function.name, arguments) {
            let separator = separator.size(self.left.saturating_add(1));
            self.spend(separator.saturating_mul(list.count().unwrap_or(1)))?;
        }
        let result = (function.call)(arguments, self)?;
        // An object is part of what was there before.
        if !matches!(result, Value::Object(_)) {
            self.charge(&result)?;
        }
        if result.as_str().is_some_and(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(format!("{}: a text of more than a megabyte", function.name));
        }
        Ok(result)
    }

    /// `and` and `or`: the first argument that settles it, else the last; the others are not looked at.
    fn until(&mut self, settles: bool, operands: &'a [Operand], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let mut last = Value::Nil;
        for operand in operands {
            last = self.operand(operand, &[], dot)?;
            if last.is_true() == settles {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    /// A value and what is taken of it; the last name may be a method of the arguments.
    fn operand(&mut self, operand: &'a Operand, arguments: &[Value], dot: &Value) -> Result<Value, String> {
        let mut value = match &operand.base {
            Base::Constant(value) => value.clone(),
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).ok_or_else(|| format!("`{name}` is not set"))?
            }
            Base::Pipeline(inner) => self.deeper(|run| run.pipeline(inner, dot))?,
            Base::Function(function) => self.call(function, &[])?,
        };
        if let Some((last, path)) = operand.path.split_last() {
            for name in path {
                value = value.member(name, &[])?;
            }
            value = value.member(last, arguments)?;
        }
        self.spend(1 + operand.path.len())?;
        Ok(value)
    }

    /// A regular expression; made once.
    pub fn regex(&mut self, pattern: &Value) -> Result<Regex, String> {
        let pattern = pattern.to_string();
        if let Some(regex) = self.regexes.get(&pattern) {
            return Ok(regex.clone());
        }
        self.spend(REGEX_COST)?;
        let made = RegexBuilder::new(&pattern).size_limit(REGEX_BYTES).build();
        let regex = made.map_err(|_| format!("`{pattern}` is no regular expression"))?;
        self.regexes.insert(pattern, regex.clone());
        Ok(regex)
    }
}

/// Nothing that a browser runs.
fn is_harmless_url(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    match text.split_once(':') {
        Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => matches!(scheme, "http" | "https" | "mailto"),
        _ => true,
    }
}
