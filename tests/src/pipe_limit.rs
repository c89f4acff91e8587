//! The machine's limit for pipes, which CRIU needs large to serve lazy pages.

use crate::node::Node;

/// Where the kernel shows it.
pub const PIPE_LIMIT: &str = "/proc/sys/fs/pipe-max-size";

/// The limit, raised for as long as this lives: without `CAP_SYS_RESOURCE` CRIU cannot make its pipes larger than that, and
/// then serves no page.
#[derive(Debug)]
pub struct PipeLimit<'node> {
    node: &'node Node,
    before: String,
}

impl<'node> PipeLimit<'node> {
    /// `None` when it cannot be raised here.
    #[must_use]
    pub fn raise(node: &'node Node) -> Option<Self> {
        let before = node.run(&["cat", PIPE_LIMIT]).ok().stdout.trim().to_owned();
        let raised = node.shell(&format!("echo 16777216 >{PIPE_LIMIT}"));
        raised.succeeded().then_some(Self { node, before })
    }
}

impl Drop for PipeLimit<'_> {
    fn drop(&mut self) {
        let before = &self.before;
        let _ = self.node.shell(&format!("echo {before} >{PIPE_LIMIT}"));
    }
}
