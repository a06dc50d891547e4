//! `demo:show`: everything that a command can print.

use std::time::Duration;

use framework::output::{Align, Link, Table, TableStyle, Tree};
use framework::prelude::*;

/// Show what a command can print
///
/// Its source, app/command/show.rs, is there to copy from.
#[derive(Args, Command)]
#[command(name = "demo:show")]
struct Show {
    /// Time between two steps of the progress bars
    #[arg(long, default_value = "20ms", value_parser = framework::humantime::parse_duration)]
    pause: Duration,
}

impl Execute for Show {
    const QUEUEABLE: bool = true;

    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        let untrusted = "<error>not markup</error>\u{1b}[2J";
        output.line(markup!(
            "<info>info</info> <comment>comment</> <question>question</> <highlight>highlight</>"
        ));
        output.line(markup!("<error>error</error> <warning>warning</warning> {untrusted}"));
        output.line(Link::new("the project", "https://example.com/think"));
        for style in [
            TableStyle::Default,
            TableStyle::Compact,
            TableStyle::Markdown,
            TableStyle::Borderless,
            TableStyle::Box,
            TableStyle::BoxDouble,
        ] {
            output.line(format_args!("\n{style:?}"));
            output.print_table(&table(style));
        }
        output.line("");
        let mail = Tree::new("mail").child(Tree::new("send_mail")).child(Tree::new("send_newsletter"));
        output.tree(&Tree::new("queues").child(mail).child(Tree::new("图片").child(Tree::new("缩略图"))));
        output.line("");
        output.definitions(&[
            ("host".to_owned(), "The address that the server listens on; 0.0.0.0 is every one".to_owned()),
            ("队列".to_owned(), "任务在这里等待，直到有空闲的工作进程来处理它们。".to_owned()),
            ("큐".to_owned(), "작업은 처리할 작업자가 나올 때까지 여기에서 기다립니다.".to_owned()),
        ]);
        self.progress(output).await;
        Ok(())
    }
}

impl Show {
    /// Two bars and a spinner at once.
    async fn progress(&self, output: &mut Output) {
        let (mails, images) = (output.progress("Mails", 10), output.progress("Images", 20));
        let spinner = output.spinner("Counting");
        for step in 1..=10 {
            mails.advance(1);
            images.advance(2);
            images.message(format_args!("{step}.png"));
            if step == 5 {
                output.note("half of it is done");
            }
            tokio::time::sleep(self.pause).await;
        }
        mails.finish("10 mails sent");
        images.finish("20 images resized");
        spinner.finish("");
    }
}

fn table(style: TableStyle) -> Table {
    Table::new(["Function", "What it is for", "Runs"])
        .style(style)
        .align(2, Align::Right)
        .row(["send_mail", "Sends one mail", "1200"])
        .separator()
        .row(["缩略图", "Makes 图片 smaller, a few of them at a time, and keeps their names 🏞️", "7"])
        .row(["e\u{301}cho", "Says what it was told", "31"])
}
