//! The commands: what is typed, which one runs, and what becomes of an error.

mod asking;
pub mod check;
pub mod demo;
mod diff;
mod explain;
mod generate;
mod healthcheck;
mod history;
mod key;
pub mod run;
pub mod schema;
mod top;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Known;
use crate::pool::balancer;

use check::CheckOutcome;
use demo::DemoArgs;
use demo::backend::BackendArgs;
use diff::DiffArgs;
use explain::ExplainArgs;
use healthcheck::HealthcheckArgs;
use history::{HistoryArgs, RollbackArgs};
use key::KeyArgs;
use top::TopArgs;

/// What was typed.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version, about, args_conflicts_with_subcommands = true)]
pub struct Typed {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: ConfigArg,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until a signal ends it (the default command)
    Run(ConfigArg),
    /// Print every problem and warning of the configuration; start nothing
    Check {
        #[command(flatten)]
        config: ConfigArg,
        /// How the problems are written
        #[arg(long, value_enum, default_value_t = check::Format::Text)]
        format: check::Format,
        /// End with 1 for warnings, too
        #[arg(long)]
        strict: bool,
    },
    /// Tell where a request would go, and why
    Explain(Box<ExplainArgs>),
    /// Tell what an edit of the routes would change
    Diff(DiffArgs),
    /// List the last generations of a running gateway: who, when, what
    History(HistoryArgs),
    /// Have the tenants that a gateway keeps by its API be again what they were
    Rollback(RollbackArgs),
    /// Make an API key, and the lines by which the routes know it
    Key(KeyArgs),
    /// Follow a running gateway: traffic, errors, endpoints and problems, in the terminal
    Top(TopArgs),
    /// Print the JSON schema of a file, for editors
    Schema {
        /// Which file
        file: schema::Which,
    },
    /// Print the script that completes commands in a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print a manual page, for man
    Man {
        /// Of which command; without it, the page that names all
        command: Option<String>,
    },
    /// Ask a running gateway whether it is ready: exit code 0 or 1
    Healthcheck(HealthcheckArgs),
    /// Serve two tenants with four small backends of its own, to try things on
    Demo(DemoArgs),
    /// One backend of the demo
    #[command(hide = true)]
    DemoBackend(BackendArgs),
}

/// Which configuration.
#[derive(Args, Debug)]
struct ConfigArg {
    /// The gateway's own file; it names the routes
    #[arg(long, value_name = "PATH", default_value = "config/gateway.toml")]
    config: PathBuf,
}

/// Runs what was typed. An error is one sentence on standard error (or the list of the problems of
/// the configuration) and exit code 1.
pub fn main() -> ExitCode {
    let typed = Typed::parse();
    let done = match typed.command.unwrap_or(Command::Run(typed.config)) {
        Command::Run(arg) => run::run(&arg.config),
        Command::Check { config, format, strict } => {
            print_check(&config, format).map(|outcome| match outcome.warnings {
                1.. if strict => ExitCode::FAILURE,
                _ if outcome.is_good() => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            })
        }
        Command::Explain(args) => {
            explain::explain(&args).and_then(|text| print(&text)).map(|()| ExitCode::SUCCESS)
        }
        Command::Diff(args) => {
            diff::diff(&args).and_then(|(text, code)| print(&text).map(|()| code))
        }
        Command::History(args) => {
            history::history(&args).and_then(|text| print(&text)).map(|()| ExitCode::SUCCESS)
        }
        Command::Rollback(args) => {
            history::rollback(&args).and_then(|text| print(&text)).map(|()| ExitCode::SUCCESS)
        }
        Command::Key(args) => {
            key::key(&args).and_then(|text| print(&text)).map(|()| ExitCode::SUCCESS)
        }
        Command::Top(args) => top::top(&args)
            .and_then(|text| text.map_or(Ok(()), |text| print(&text)))
            .map(|()| ExitCode::SUCCESS),
        Command::Schema { file } => print(&schema::schema(file)).map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => {
            print(&generate::completions(shell)).map(|()| ExitCode::SUCCESS)
        }
        Command::Man { command } => {
            let page = generate::man(command.as_deref());
            page.and_then(|page| print(&page)).map(|()| ExitCode::SUCCESS)
        }
        Command::Healthcheck(args) => healthcheck::healthcheck(&args)
            .and_then(|text| print(&text))
            .map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => run::demo(&args),
        Command::DemoBackend(args) => demo::backend::run(&args).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        let mut err = io::stderr().lock();
        // Standard error may be closed; the exit code still tells.
        drop(writeln!(err, "tenantry: {}", sentence(&error)));
        ExitCode::FAILURE
    })
}

/// The error with its causes, each told once: most errors of this program tell their cause
/// themselves.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match &told {
        told if told.is_empty() => cause,
        told if told.contains(&cause) => told.clone(),
        told => format!("{told}: {cause}"),
    })
}

fn print_check(arg: &ConfigArg, format: check::Format) -> anyhow::Result<CheckOutcome> {
    let known = Known { balancers: balancer::names(), keyed: balancer::keyed_names() };
    let outcome = check::check(&arg.config, &known, format);
    print(&outcome.output)?;
    Ok(outcome)
}

/// Prints what the command is for. A reader that has seen enough (`| head`) is no fault.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn config_of(words: &[&str]) -> PathBuf {
        let typed = Typed::try_parse_from(words).unwrap();
        match typed.command {
            Some(Command::Run(arg)) => arg.config,
            Some(_) => panic!("another command"),
            None => typed.config.config,
        }
    }

    #[test]
    fn run_is_the_command_that_need_not_be_typed() {
        assert_eq!(config_of(&["tenantry"]), PathBuf::from("config/gateway.toml"));
        assert_eq!(config_of(&["tenantry", "--config", "a.toml"]), PathBuf::from("a.toml"));
        assert_eq!(config_of(&["tenantry", "run", "--config", "a.toml"]), PathBuf::from("a.toml"));
    }

    #[test]
    fn a_cause_that_an_error_tells_itself_is_not_told_again() {
        let lines = crate::telemetry::lines::LinesError::Open {
            path: "none/access.log".into(),
            source: io::ErrorKind::NotFound.into(),
        };

        let text = sentence(&anyhow::Error::from(lines).context("the gateway does not start"));

        assert!(text.starts_with("the gateway does not start: none/access.log"), "{text}");
        assert_eq!(text.matches("entity not found").count(), 1, "{text}");
    }

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Typed::command().debug_assert();
    }

    /// A change of what is typed is a change for every script that types it.
    #[test]
    fn the_help_is_the_one_that_was_agreed_on() {
        let typed = |words: &[&str]| Typed::try_parse_from(words).unwrap_err().to_string();
        let mut help = typed(&["tenantry", "--help"]);
        for name in [
            "run",
            "check",
            "explain",
            "diff",
            "history",
            "rollback",
            "key",
            "top",
            "schema",
            "completions",
            "man",
            "healthcheck",
            "demo",
        ] {
            help += &format!("\n--- {name} ---\n{}", typed(&["tenantry", name, "--help"]));
        }
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();

        let agreed: Vec<&str> = include_str!("help.txt").lines().collect();

        assert_eq!(lines, agreed, "write the new text to src/cli/help.txt:\n{help}");
    }
}
