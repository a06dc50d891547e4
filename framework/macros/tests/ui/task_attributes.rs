//! Mistakes in what stands above a task.

use framework::prelude::*;

#[derive(Task)]
struct Nameless;

#[derive(Task)]
#[task(name = "Send Mail")]
struct BadName;

#[derive(Task)]
#[task(name = "a", atempts = 3)]
struct UnknownOption;

#[derive(Task)]
#[task(name = "b", colour = "red")]
struct StrangeOption;

#[derive(Task)]
#[task(name = "c", timeout = "soon")]
struct BadDuration;

#[derive(Task)]
#[task(name = "d", timeout = 30)]
struct BareDuration;

#[derive(Task)]
#[task(name = "e", priority = 10)]
struct BadPriority;

#[derive(Task)]
#[task(name = "f", attempts = 0)]
struct NoAttempts;

#[derive(Task)]
#[task(name = "g", blocking = true)]
struct BlockingValue;

#[derive(Task)]
#[task(name = "h", name = "i")]
struct Twice;

#[derive(Task)]
#[task(name = "j")]
enum Choice {}

#[derive(Task)]
#[task(name = "k")]
struct Generic<T>(T);

#[derive(Task)]
#[task(name = "l", cron = "0 9 * *")]
struct FourFields;

#[derive(Task)]
#[task(name = "m", cron = "0 25 * * mon-fri")]
struct NoSuchHour;

#[derive(Task)]
#[task(name = "n", cron = "0 9 * * *", timezone = "the moon")]
struct BadTimezone;

#[derive(Task)]
#[task(name = "o", cron = "0 9 * * *", missed = "twice")]
struct BadPolicy;

#[derive(Task)]
#[task(name = "p", overlap = "skip")]
struct OverlapOfNothing;

fn main() {}
