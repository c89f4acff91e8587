//! The list of command lines, through the real runc and through ours, in a node.

use std::collections::BTreeMap;
use std::io;

use rig::compare::{Containers, Needed, Runner, parse};
use rig::{Container, Node, Program, Shape};

const LIST: &str = include_str!("cli/commands.txt");

/// Where both programs run; one path for both, since messages name it.
const SCRATCH: &str = "/run/rig/cases";

/// Containers of runc's, made as they are asked for.
struct Made<'node> {
    node: &'node Node,
    kept: BTreeMap<Needed, String>,
    all: Vec<Container<'node>>,
}

impl Containers for Made<'_> {
    fn id(&mut self, needed: Needed) -> io::Result<String> {
        if let Some(id) = self.kept.get(&needed) {
            return Ok(id.clone());
        }
        let shape = Shape::new(self.node, self.node.unique("case"));
        let container = if needed == Needed::Created {
            let container = shape.prepare();
            let script = "runc create --bundle \"$1\" \"$2\" </dev/null >/dev/null 2>&1";
            self.node
                .command("bash")
                .args(["-c", script, "create", container.bundle(), container.id()])
                .output()
                .ok();
            container
        } else {
            let container = shape.start();
            // A shell that still starts programs may be caught where nobody can stop it.
            let _ = container.counter_beyond(3);
            container
        };
        match needed {
            Needed::Paused => {
                container
                    .runtime_command()
                    .args(["pause", container.id()])
                    .output()
                    .ok();
            }
            Needed::Stopped => {
                container
                    .runtime_command()
                    .args(["kill", container.id(), "KILL"])
                    .output()
                    .ok();
                container.wait_for_status("stopped");
            }
            Needed::None | Needed::Running | Needed::Created | Needed::Fresh => {}
        }
        let id = container.id().to_owned();
        if needed != Needed::Fresh {
            self.kept.insert(needed, id.clone());
        }
        self.all.push(container);
        Ok(id)
    }
}

#[test]
#[ignore = "needs the node root: run make test"]
fn every_command_line_comes_to_the_same_as_with_runc() {
    let node = Node::shared();
    let cases = parse(LIST).expect("the list can be read");
    let mut made = Made {
        node,
        kept: BTreeMap::new(),
        all: Vec::new(),
    };
    let runner = Runner {
        node,
        theirs: "/opt/rig/runc".to_owned(),
        ours: Program::Ours.command(node),
        scratch: SCRATCH.to_owned(),
    };
    let wrong = runner
        .run(&cases, &mut made)
        .expect("every command can be run");
    assert!(
        wrong.is_empty(),
        "of {} command lines:\n{wrong}",
        cases.len()
    );
}
