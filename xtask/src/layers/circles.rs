//! Circles: files that use each other, each by way of the others.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::arrows::Arrow;
use super::names::Target;
use super::report::{Circle, Step};
use super::table::is_within;
use super::tree::{FileId, Tree};

/// For each file, the files that it uses, with one arrow to each.
type Graph<'a> = BTreeMap<FileId, BTreeMap<FileId, &'a Arrow>>;

/// Finds the sets of files of which each uses each, in any number of steps; the largest first.
///
/// Where `in_rooms` allows it, a file and those in its folder may use it and be used by it, as a type and its parts do. Two
/// files of the folder still may not use each other, nor may a way lead out of the folder and back.
pub fn find(tree: &Tree, arrows: &[Arrow], in_rooms: bool) -> Vec<Circle> {
    let graph = graph(tree, arrows);
    let mut circles: Vec<Circle> = components(tree.files.len(), &graph)
        .into_iter()
        .filter(|members| members.len() > 1 && !(in_rooms && is_room(tree, &graph, members)))
        .map(|members| circle(tree, &graph, &members))
        .collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.files.len()));
    circles
}

/// Who uses what: an import of a module uses nothing of it yet, and a name that is passed on is used by others.
fn graph<'a>(tree: &Tree, arrows: &'a [Arrow]) -> Graph<'a> {
    let mut graph = Graph::new();
    for arrow in arrows.iter().filter(|arrow| !arrow.passes_on) {
        let from = tree.modules[arrow.from].file;
        for end in &arrow.to {
            if let Target::Item(module) = end.target
                && tree.modules[module].file != from
            {
                graph.entry(from).or_default().entry(tree.modules[module].file).or_insert(arrow);
            }
        }
    }
    graph
}

/// Strongly connected components, by Tarjan's algorithm.
fn components(files: usize, graph: &Graph) -> Vec<Vec<FileId>> {
    let mut search =
        Search { graph, seen: HashMap::new(), lowest: HashMap::new(), stack: Vec::new(), found: Vec::new() };
    for file in 0..files {
        if !search.seen.contains_key(&file) {
            search.visit(file);
        }
    }
    search.found
}

struct Search<'a> {
    graph: &'a Graph<'a>,
    /// Files by the order in which they were met.
    seen: HashMap<FileId, usize>,
    /// The earliest file on the stack that each reaches.
    lowest: HashMap<FileId, usize>,
    stack: Vec<FileId>,
    found: Vec<Vec<FileId>>,
}

impl Search<'_> {
    fn visit(&mut self, file: FileId) {
        let order = self.seen.len();
        self.seen.insert(file, order);
        self.stack.push(file);
        let mut lowest = order;
        for next in self.graph.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if !self.seen.contains_key(next) {
                self.visit(*next);
                lowest = lowest.min(self.lowest[next]);
            } else if self.stack.contains(next) {
                lowest = lowest.min(self.seen[next]);
            }
        }
        self.lowest.insert(file, lowest);
        if lowest == order {
            let start = self.stack.iter().position(|other| *other == file).unwrap_or_default();
            self.found.push(self.stack.split_off(start));
        }
    }
}

/// Whether files are one and some of its folder, and a circle only because these name that one.
fn is_room(tree: &Tree, graph: &Graph, members: &[FileId]) -> bool {
    let path = |file: &FileId| tree.modules[tree.files[*file].module].path.as_str();
    let is_one_room = members.iter().any(|head| members.iter().all(|file| is_within(path(file), path(head))));
    let downwards = downwards(tree, graph, members);
    is_one_room && components(tree.files.len(), &downwards).iter().all(|files| files.len() == 1)
}

/// The arrows among some files, but for those from a file to one that it lies under.
fn downwards<'a>(tree: &Tree, graph: &Graph<'a>, members: &[FileId]) -> Graph<'a> {
    let path = |file: FileId| tree.modules[tree.files[file].module].path.as_str();
    let mut kept = Graph::new();
    for from in members {
        let uses = graph.get(from).into_iter().flatten();
        let uses = uses.filter(|(to, _)| members.contains(to) && !is_within(path(*from), path(**to)));
        kept.insert(*from, uses.map(|(to, arrow)| (*to, *arrow)).collect());
    }
    kept
}

fn circle(tree: &Tree, graph: &Graph, members: &[FileId]) -> Circle {
    let name = |file: FileId| tree.files[file].path.clone();
    let step = |from: FileId, to: FileId| Step {
        from: name(from),
        line: graph[&from][&to].line,
        text: graph[&from][&to].text.clone(),
        to: name(to),
    };
    let mut arrows = Vec::new();
    for from in members {
        let uses = graph.get(from).into_iter().flat_map(BTreeMap::keys);
        arrows.extend(uses.filter(|to| members.contains(to)).map(|to| step(*from, *to)));
    }
    arrows.sort_by(|a, b| (&a.from, a.line).cmp(&(&b.from, b.line)));
    // A way round that goes through no parent tells more than one between a type and its parts.
    let way = shortest(members, &downwards(tree, graph, members)).or_else(|| shortest(members, graph));
    let way = way.unwrap_or_default();
    let steps = way.iter().zip(way.iter().cycle().skip(1));
    let shortest = steps.map(|(from, to)| step(*from, *to)).collect();
    let mut files: Vec<_> = members.iter().map(|file| name(*file)).collect();
    files.sort();
    Circle { files, shortest, arrows }
}

/// The shortest way from any of these files back to itself.
fn shortest(members: &[FileId], graph: &Graph) -> Option<Vec<FileId>> {
    members.iter().filter_map(|start| way_back(*start, members, graph)).min_by_key(Vec::len)
}

/// The shortest way from a file back to itself, the file once.
fn way_back(start: FileId, members: &[FileId], graph: &Graph) -> Option<Vec<FileId>> {
    let mut before: HashMap<FileId, FileId> = HashMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(file) = waiting.pop_front() {
        for next in graph.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if *next == start {
                let mut way = vec![file];
                while way[way.len() - 1] != start {
                    way.push(before[&way[way.len() - 1]]);
                }
                way.reverse();
                return Some(way);
            }
            if members.contains(next) && !before.contains_key(next) {
                before.insert(*next, file);
                waiting.push_back(*next);
            }
        }
    }
    None
}
