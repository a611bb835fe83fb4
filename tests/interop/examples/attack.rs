//! `attack NAME --relay ADDRESS [--http ADDRESS] [--seconds S] [--rate R] [--count N]`: one attack of `moqswitch_interop::attack`, and a
//! line of JSON that says what it did. Without a name: what there is.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use moqswitch_interop::attack::{ATTACKS, Target, address_before, run};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for (name, what, _, _) in ATTACKS {
            println!("{name:14} {what}");
        }
        return Ok(());
    };
    let (_, _, rate, count) = *ATTACKS
        .iter()
        .find(|attack| attack.0 == name)
        .with_context(|| format!("no attack is called '{name}'"))?;
    let (mut relay, mut http) = (None, None);
    let (mut seconds, mut rate, mut count) = (10, rate, count);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--relay" => relay = Some(value.parse().context("--relay")?),
            "--http" => http = Some(value.parse().context("--http")?),
            "--seconds" => seconds = value.parse().context("--seconds")?,
            "--rate" => rate = value.parse().context("--rate")?,
            "--count" => count = value.parse().context("--count")?,
            _ => bail!("unknown flag '{flag}'"),
        }
    }
    let relay = relay.context("--relay is missing")?;
    let target = Target {
        relay,
        from: address_before(relay),
        http,
        duration: Duration::from_secs(seconds),
        rate,
        count,
        seed: 1,
    };
    let done = run(&name, &target)?;
    let code = done.code.map_or_else(|| "null".to_owned(), |code| code.to_string());
    println!(
        "{{\"attack\":\"{name}\",\"sent\":{},\"late\":{},\"refused\":{},\"closed\":{},\"code\":{code}}}",
        done.sent, done.late, done.refused, done.closed
    );
    Ok(())
}
