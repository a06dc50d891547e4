//! `demo:questions`: every kind of question that a command can ask.

use framework::input::Question;
use framework::prelude::*;

/// Ask every kind of question
///
/// Its source, app/command/questions.rs, is there to copy from.
#[derive(Args, Command)]
#[command(name = "demo:questions")]
struct Questions {
    /// What to call the report
    #[ask("Name of the report?")]
    name: String,
    /// Password of the report
    #[arg(long)]
    #[ask("Password?", secret)]
    password: String,
}

impl Execute for Questions {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let input = app.input();
        let queues = ["mail", "images", "reports", "队列"];
        let check = |text: &str| {
            if text.contains('@') { Ok(()) } else { Err("an address has an @ in it".to_owned()) }
        };
        let to = input
            .ask(output, &Question::new("Whom to send it to?").default("ada@example.com").check(&check))?;
        let copies = input.number::<u8>(output, "How many copies?", Some(1))?;
        let queue = input.choose(output, "Which queue?", &queues, Some(0))?;
        let others = input.choose_many(output, "Which others?", &queues, &[])?;
        let file = input.ask(output, &Question::new("Which file?").default("report.txt").path())?;
        let code = input.ask(output, &Question::new("A new code?").default("none").secret(true))?;
        let sure = input.confirm(output, "Send it?", false)?;
        let others: Vec<_> = others.into_iter().map(|place| queues[place]).collect();
        output.line(format_args!("{} to {to}, {copies} times, from {file}", self.name));
        output.line(format_args!("queues {} and {others:?}", queues[queue]));
        let lengths = (self.password.chars().count(), code.chars().count());
        output.line(format_args!("secrets of {} and {} characters, sure: {sure}", lengths.0, lengths.1));
        Ok(())
    }
}
