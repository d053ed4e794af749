//! `tenantry completions` and `tenantry man`: made of the commands themselves, so that they are
//! never behind.

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Typed;

/// The script that completes what is typed in this shell.
pub(super) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Typed::command(), "tenantry", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of a command, or of all of them together, in roff.
///
/// # Errors
/// When there is no such command.
pub(super) fn man(name: Option<&str>) -> anyhow::Result<String> {
    let mut all = Typed::command();
    all.build();
    let command = match name {
        None => &all,
        Some(name) => all
            .find_subcommand(name)
            .with_context(|| format!("there is no command {name:?}; tenantry --help lists them"))?,
    };
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_gets_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(shell);

            for word in ["explain", "diff", "check", "admin"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn each_command_that_the_manual_names_has_a_page() {
        let page = man(None).unwrap();

        for name in ["run", "check", "explain", "diff", "schema", "completions", "man", "demo"] {
            assert!(page.contains(&format!("tenantry\\-{name}(1)")), "{name} is not in {page}");
            let page = man(Some(name)).unwrap();
            assert!(page.contains(&format!(".TH tenantry-{name} 1")), "{page}");
        }
        assert!(man(Some("diff")).unwrap().contains("exit\\-code"));
        assert!(man(Some("none")).unwrap_err().to_string().contains("\"none\""));
    }
}
