//! A checkpoint's way back: its image restored by runc, beside the pod that it was taken of.

use super::Checkpoint;

/// Runs in the node: makes a bundle of what a pod's container was started from, restores the image into it, and shows the
/// first numbers that the restored container prints. Arguments: the container's id, the image directory.
const RESTORE: &str = r#"
task=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$1
name=restored-${1:0:12} bundle=/run/rig/restored-${1:0:12}
mkdir -p $bundle/rootfs
jq --arg name /$name '.linux.cgroupsPath = $name' $task/config.json >$bundle/config.json
cp -ax $task/rootfs/. $bundle/rootfs/
runc restore --detach --bundle $bundle --image-path "$2" --work-path $bundle $name </dev/null >$bundle/said 2>&1 ||
    { cat $bundle/said; tail -n 20 $bundle/restore.log; exit 1; }
for n in $(seq 300); do
    [ "$(wc -l <$bundle/said)" -lt 3 ] || break
    sleep 0.1
done
head -n 3 $bundle/said
runc delete --force $name
rm -r $bundle
"#;

impl Checkpoint<'_> {
    /// Fails unless its image, of a container that prints numbers, goes on printing from between these two.
    ///
    /// The container that it was taken of still has to be there.
    pub fn must_come_back(&self, before: u64, after: u64) {
        let status = self.status();
        let id = status["containerID"].as_str().unwrap_or_default();
        let id = id.trim_start_matches("containerd://");
        let output = self
            .node()
            .command("bash")
            .args(["-euc", RESTORE, "restore", id, &self.image()])
            .output()
            .ok();
        let lines = output.stdout.lines();
        let numbers: Vec<u64> = lines.filter_map(|line| line.parse().ok()).collect();
        let [first, second, third] = numbers[..] else {
            panic!("three numbers were expected: {output:#?}");
        };
        assert!(
            (before..=after + 1).contains(&first),
            "{first} is not from {before} to {after}"
        );
        assert_eq!([second, third], [first + 1, first + 2]);
    }
}
