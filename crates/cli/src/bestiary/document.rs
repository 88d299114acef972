//! `docs/bestiary.md`, written from the entries.

use super::{Theme, all};
use std::fmt::Write as _;

const HEAD: &str = "\
# The bestiary

How connections ended wrongly in other stacks, proxies and programs: each entry is a public report, rebuilt as a scenario
with lastack in the place of what failed. They run as tests, and with

```sh
lastack bestiary                  # all of them, with a sentence each
lastack bestiary ipstack gvisor   # those whose names contain one of the words
```

The sentences are ours and the reports say more; of some only the subject was at hand, and that is what their entries
rebuild. Most run between two stacks in virtual time; those about programs and
relays run on real hosts over links in memory. This page is written from the program: `BLESS=1 cargo test -p lastack-cli`
writes it anew.
";

/// The page.
pub fn document() -> String {
    let mut page = HEAD.to_owned();
    let entries = all();
    let absent = entries.iter().filter(|entry| !entry.is_rebuilt()).count();
    // Writing to a string cannot fail.
    let _ = writeln!(page, "\n{} entries, of which {absent} could not be rebuilt.", entries.len());
    for theme in Theme::ALL {
        let _ = writeln!(
            page,
            "\n## {}\n\n| entry | report | what went wrong | what lastack does |",
            theme.title()
        );
        page.push_str("|---|---|---|---|\n");
        for entry in entries.iter().filter(|entry| entry.theme == theme && entry.is_rebuilt()) {
            let _ =
                writeln!(page, "| `{}` | {} | {} | {} |", entry.name, entry.source, entry.wrong, entry.right);
        }
    }
    page.push_str(
        "\n## Not rebuilt\n\n| report | what it is about | why there is no scenario |\n|---|---|---|\n",
    );
    for entry in entries.iter().filter(|entry| !entry.is_rebuilt()) {
        let _ = writeln!(page, "| {} | {} | {} |", entry.source, entry.wrong, entry.right);
    }
    page
}
