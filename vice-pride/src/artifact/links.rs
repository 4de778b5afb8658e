//! Where symbolic links really lead: the kernel's path walk, repeated over the entries of a finished tree.
//!
//! A target that is harmless by its text can still leave the release when it passes through another link
//! (`s -> ../..`, then `t -> a/s/../x`), so each link is walked to its end before a release is published.

use std::collections::BTreeMap;

use super::tree::Node;

/// As many links as the kernel follows before it gives up.
const HOPS_MAX: usize = 40;

/// Whether the link at `path` stays inside for every prefix of its walk.
pub(super) fn stays_inside(nodes: &BTreeMap<String, Node>, path: &str) -> Result<(), &'static str> {
    let mut todo: Vec<&str> = path.split('/').rev().collect();
    let mut here = String::new();
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        match part {
            "" | "." => {}
            ".." => {
                if here.is_empty() {
                    return Err("is a link that leaves the release folder through another link");
                }
                here.truncate(here.rfind('/').unwrap_or(0));
            }
            _ => {
                let parent_len = here.len();
                if !here.is_empty() {
                    here.push('/');
                }
                here.push_str(part);
                if let Some(Node::Link { target }) = nodes.get(&here) {
                    hops += 1;
                    if hops > HOPS_MAX {
                        return Err("is a link that leads in a circle");
                    }
                    here.truncate(parent_len);
                    todo.extend(target.split('/').rev());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(links: &[(&str, &str)]) -> BTreeMap<String, Node> {
        links.iter().map(|(path, target)| ((*path).to_owned(), Node::Link { target: (*target).to_owned() })).collect()
    }

    #[test]
    fn a_link_through_a_link_can_not_leave() {
        let nodes = tree(&[("a/b/s", "../.."), ("t", "a/b/s/../x")]);
        assert!(stays_inside(&nodes, "a/b/s").is_ok());
        assert!(stays_inside(&nodes, "t").is_err());
    }

    #[test]
    fn circles_end() {
        let nodes = tree(&[("a", "b"), ("b", "a"), ("c", "c/x")]);
        assert!(stays_inside(&nodes, "a").is_err());
        assert!(stays_inside(&nodes, "c").is_err());
    }

    #[test]
    fn chains_inside_are_fine() {
        let nodes = tree(&[("current", "releases/2"), ("releases/2", "1"), ("bin", "current/bin")]);
        for path in ["current", "releases/2", "bin"] {
            assert!(stays_inside(&nodes, path).is_ok(), "{path}");
        }
    }
}
