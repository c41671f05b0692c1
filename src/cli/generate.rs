//! Completions and the man page, which are generated from the tool's own description.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;

use super::outcome::{End, Outcome};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    shell: Shell,
}

/// Print the man page
#[derive(Debug, clap::Args)]
pub(super) struct Man {}

pub(super) fn completions(args: &Completions, mut command: Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "otel-spool", &mut script);
    io::stdout().write_all(&script)?;
    Ok(End::Done)
}

/// Prints a single page for all commands, where each has a section of its own.
pub(super) fn man(mut command: Command) -> Outcome {
    command.build();
    let mut page = Vec::new();
    let main = clap_mangen::Man::new(command.clone());
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    main.render_description_section(&mut page)?;
    sections(&command, &mut page)?;
    main.render_extra_section(&mut page)?;
    io::stdout().write_all(&page)?;
    Ok(End::Done)
}

fn sections(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_bin_name().unwrap_or_default();
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let man = clap_mangen::Man::new(command.clone());
        let mut section = Vec::new();
        man.render_synopsis_section(&mut section)?;
        man.render_description_section(&mut section)?;
        if command.get_arguments().next().is_some() {
            man.render_options_section(&mut section)?;
        }
        man.render_extra_section(&mut section)?;
        page.extend(String::from_utf8_lossy(&section).replace(".SH ", ".SS ").into_bytes());
        sections(command, page)?;
    }
    Ok(())
}
