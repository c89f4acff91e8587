use rig::{Node, Program, Shape};
#[test]
#[ignore]
fn adhoc() {
    let node = Node::shared_guest();
    let c = Shape::new(node, "adhoc")
        .workload(&["dirty", "--tick-ms", "100"])
        .start();
    let _ = Program::Ours.command(node);
    let _ = c.published_when("/out/state", |s| s.number("ticks") > 3);
    let script = std::fs::read_to_string(std::env::var("ADHOC").unwrap()).unwrap();
    let o = node
        .command("bash")
        .args(["-xc", &script])
        .cwd(c.bundle())
        .timeout(std::time::Duration::from_secs(300))
        .output();
    println!("{}\n{}\nstatus {}", o.stdout, o.stderr, o.status);
}
