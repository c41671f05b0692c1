//! [`Pickle`]: what a pickle holds, as an arena of nodes that refer to one another by number.

use std::borrow::Cow;
use std::num::NonZeroU32;

/// The number of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(NonZeroU32);

/// A value of Python.
#[derive(Debug)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer that may have more than 64 bits, in two's complement, the lowest byte first.
    Long(&'a [u8]),
    /// The same as decimal digits, perhaps with a minus before them.
    Digits(&'a str),
    Float(f64),
    /// UTF-8, perhaps with surrogates.
    Text(Cow<'a, [u8]>),
    /// A `str` of Python 2: text, or bytes.
    Str(Cow<'a, [u8]>),
    Bytes(&'a [u8]),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or a function: its module and its name with a newline between them, and where that is.
    Class(&'a [u8], u32),
    /// The same, both as nodes.
    ClassOf(Id, Id),
    Object(Object),
}

/// What a call would have returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    /// What would have been called.
    pub(super) class: Id,
    pub(super) args: Id,
    /// What it would have been given after that.
    pub(super) state: Option<Id>,
    /// A list of what would have been appended.
    pub(super) items: Option<Id>,
    /// A dictionary of the items that would have been set.
    pub(super) pairs: Option<Id>,
}

/// Nodes, of which one is a dictionary that holds the others.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Id,
    /// The length of the pickle in bytes.
    len: usize,
}

impl Id {
    /// The number of the next node behind so many.
    pub(super) fn next(len: usize) -> Option<Self> {
        u32::try_from(len + 1).ok().and_then(NonZeroU32::new).map(Self)
    }

    pub(super) fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Object {
    pub(super) fn new(class: Id, args: Id) -> Self {
        Self { class, args, state: None, items: None, pairs: None }
    }
}

impl<'a> Pickle<'a> {
    pub(super) fn new(nodes: Vec<Node<'a>>, root: Id, len: usize) -> Self {
        Self { nodes, root, len }
    }

    /// The keys and values of the dictionary, in order. A key can occur more than once; the last one counts.
    pub(crate) fn entries(&self) -> &[(Id, Id)] {
        self.pairs(Some(self.root))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id.index()]
    }

    /// The bytes of a text; of anything else none.
    #[inline]
    pub(crate) fn text(&self, id: Id) -> Option<&[u8]> {
        match self.node(id) {
            Node::Text(bytes) | Node::Str(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The members of a tuple, list or set; of anything else none.
    pub(super) fn items(&self, id: Option<Id>) -> &[Id] {
        match id.map(|id| self.node(id)) {
            Some(Node::Tuple(items) | Node::List(items) | Node::Set(items)) => items,
            _ => &[],
        }
    }

    /// The pairs of a dictionary; of anything else none.
    pub(super) fn pairs(&self, id: Option<Id>) -> &[(Id, Id)] {
        match id.map(|id| self.node(id)) {
            Some(Node::Dict(pairs)) => pairs,
            _ => &[],
        }
    }

    /// The module and the name of a class or function.
    pub(super) fn class(&self, id: Id) -> Option<(&[u8], &[u8])> {
        match self.node(id) {
            Node::Class(names, end) => Some((&names[..*end as usize], &names[*end as usize + 1..])),
            Node::ClassOf(module, name) => match (self.node(*module), self.node(*name)) {
                (Node::Text(module) | Node::Str(module), Node::Text(name) | Node::Str(name)) => Some((module, name)),
                _ => None,
            },
            _ => None,
        }
    }
}
