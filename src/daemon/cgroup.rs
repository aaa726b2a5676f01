//! How much memory the control group of this process may use (cgroup v2).

use crate::config::Settings;
use std::{fs, path::Path};

/// The least of the limits of our group and the groups around it, in bytes. None where there is no limit, or no control
/// group of that kind.
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let roots = [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/unified")]; // the latter beside version 1
    let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists())?;
    least_limit(root, own)
}

/// What to say when the group may use less than the settings allow the capture child, beside which others run.
pub fn too_little(limit: u64, settings: &Settings) -> Option<String> {
    let (limit, wanted) = (limit / 1024, settings.memory_limit / 1024);
    (limit < wanted).then(|| {
        format!(
            "this control group may use {limit} kilobytes, and memory_ulimit_kbytes is {wanted}: the kernel would kill the \
             sensor; write memory_ulimit_kbytes=\"{}\", or raise the group's MemoryMax",
            limit / 4 * 3
        )
    })
}

/// Of the group `own` below `root` and all between them.
fn least_limit(root: &Path, own: &str) -> Option<u64> {
    let group = root.join(own.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(root));
    let limit = |group: &Path| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok(); // or "max"
    groups.filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let root = std::env::temp_dir().join(format!("sie-cgroup-{}", std::process::id()));
        let group = root.join("system.slice/sensor.service");
        fs::create_dir_all(&group).unwrap();
        let limits = |own: &str, slice: &str| {
            fs::write(group.join("memory.max"), own).unwrap();
            fs::write(root.join("system.slice/memory.max"), slice).unwrap();
            least_limit(&root, "/system.slice/sensor.service")
        };
        let found = [limits("max\n", "max\n"), limits("100\n", "max\n"), limits("100\n", "50\n")];
        let outside = least_limit(&root, "/../x");
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((found, outside), ([None, Some(100), Some(50)], None));
    }
}
