//! Topics of `help`: chapters of the README.

use framework::config::did_you_mean;
use framework::prelude::*;

use super::markdown;

const README: &str = include_str!("../../README.md");

/// A topic, and the headings of the chapters that it shows.
struct Topic {
    name: &'static str,
    headings: &'static [&'static str],
}

const TOPICS: [Topic; 10] = [
    Topic { name: "beanstalkd", headings: &["### Workers and clients of beanstalkd"] },
    Topic { name: "configuration", headings: &["### Settings"] },
    Topic { name: "console", headings: &["## Commands"] },
    Topic { name: "deploying", headings: &["## Deploying"] },
    Topic { name: "exit-codes", headings: &["### Exit codes"] },
    Topic { name: "faktory", headings: &["### Workers and clients of Faktory"] },
    Topic { name: "http", headings: &["## HTTP"] },
    Topic { name: "schedules", headings: &["### Schedules"] },
    Topic { name: "wire", headings: &["## Server", "### Verbs"] },
    Topic {
        name: "workers",
        headings: &[
            "### Workers in other languages",
            "### Workers that the server starts",
            "### Functions without code",
            "### Workers on other machines",
            "### Functions in child processes",
        ],
    },
];

/// The names of all topics.
pub(crate) fn topic_names() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|topic| topic.name)
}

/// Prints a topic; `false` if there is none of this name.
pub(super) fn print_topic(name: &str, output: &mut Output) -> bool {
    let Some(topic) = TOPICS.iter().find(|topic| topic.name == name) else { return false };
    for (place, heading) in topic.headings.iter().enumerate() {
        if place > 0 {
            output.line("");
        }
        markdown::print(&chapter(README, heading), output);
    }
    true
}

/// The topic that a name was probably meant to be.
pub(super) fn similar(name: &str) -> Option<&'static str> {
    did_you_mean(name, topic_names())
}

/// A chapter with its heading, up to the next heading of its level or above.
fn chapter(text: &str, heading: &str) -> String {
    let level = |line: &str| line.chars().take_while(|letter| *letter == '#').count();
    let own = level(heading);
    let mut in_code = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        let is_heading = !in_code && line.starts_with('#');
        if lines.is_empty() && !(is_heading && line == heading) {
            continue;
        }
        if !lines.is_empty() && is_heading && level(line) <= own {
            break;
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_chapters() {
        for topic in &TOPICS {
            for heading in topic.headings {
                assert!(chapter(README, heading).lines().count() > 3, "{heading}");
            }
        }
    }

    #[test]
    fn chapter_ends_at_the_next_one() {
        let text = "## a\n1\n### b\n2\n```\n# c\n```\n## d\n3";
        assert_eq!(chapter(text, "## a"), "## a\n1\n### b\n2\n```\n# c\n```");
        assert_eq!(chapter(text, "### b"), "### b\n2\n```\n# c\n```");
    }
}
