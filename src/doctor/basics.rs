//! Starting, signing in, listing models, ending.

use std::time::Instant;

use super::laboratory::{Laboratory, TOKEN, question};
use super::{Check, Finding};
use crate::claude::features::CliFeatures;
use crate::claude::frame_in::ControlRequest;
use crate::claude::session::Session;

pub(super) const CHECKS: [Check; 5] = [
    Check {
        name: "switches",
        needs: "it has the switches of a plain chat process",
        run: |lab| Box::pin(switches(lab)),
    },
    Check {
        name: "models",
        needs: "it lists its models when it is initialised",
        run: |lab| Box::pin(models(lab)),
    },
    Check {
        name: "sign-in",
        needs: "it takes the token from a descriptor and keeps it out of environment and arguments",
        run: |lab| Box::pin(sign_in(lab)),
    },
    Check { name: "end", needs: "it ends by itself when its input does", run: |lab| Box::pin(end(lab)) },
    Check {
        name: "size",
        needs: "a plain question sends no more than 2,000 bytes",
        run: |lab| Box::pin(size(lab)),
    },
];

async fn switches(lab: &Laboratory) -> Finding {
    let help = lab.probe().say("--help").await.map_err(|error| error.to_string())?;
    let CliFeatures { restricted, permission_prompts } = CliFeatures::from_help(&help);
    let word = |has: bool| if has { "yes" } else { "no, done without" };
    Ok(format!("--restricted: {}; --permission-prompts: {}", word(restricted), word(permission_prompts)))
}

async fn models(lab: &Laboratory) -> Finding {
    let models = lab.claude().models().await.map_err(|failure| failure.to_string())?;
    let names: Vec<&str> = models.iter().map(|model| model.value.as_str()).collect();
    if names.is_empty() { Err("it lists none".to_owned()) } else { Ok(names.join(", ")) }
}

async fn sign_in(lab: &Laboratory) -> Finding {
    let trial = lab.ask(question("[[words 1]]")).await;
    trial.end()?;
    let header =
        trial.requests.first().and_then(|request| request.header("authorization")).unwrap_or_default();
    if header != format!("Bearer {TOKEN}") {
        return Err("the token did not arrive at the API".to_owned());
    }
    let supply = lab.processes().map_err(|error| error.to_string())?;
    let process = supply.start_process().await.map_err(|failure| failure.to_string())?;
    let id = process.id();
    let mut session = Session::new(process);
    initialize(&mut session).await?;
    let leaks = ["environ", "cmdline"].into_iter().filter(|name| {
        let bytes = std::fs::read(format!("/proc/{id}/{name}")).unwrap_or_default();
        bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes())
    });
    let leaks: Vec<&str> = leaks.collect();
    session.into_process().end().await;
    if leaks.is_empty() {
        Ok("arrives; in neither of both".to_owned())
    } else {
        Err(format!("it is in {leaks:?}"))
    }
}

async fn end(lab: &Laboratory) -> Finding {
    let supply = lab.processes().map_err(|error| error.to_string())?;
    let process = supply.start_process().await.map_err(|failure| failure.to_string())?;
    let mut session = Session::new(process);
    initialize(&mut session).await?;
    let begun = Instant::now();
    session.into_process().end().await;
    let took = begun.elapsed();
    // After a second it is killed.
    if took.as_millis() < 900 {
        Ok(format!("within {} ms", took.as_millis()))
    } else {
        Err("it had to be killed".to_owned())
    }
}

async fn initialize(session: &mut Session) -> Result<(), String> {
    let started = async {
        session.queue_control(ControlRequest::Initialize { system_prompt: "", servers: &[] })?;
        session.flush().await?;
        session.settle(|_| {}).await
    };
    started.await.map_err(|failure| failure.to_string())
}

async fn size(lab: &Laboratory) -> Finding {
    let trial = lab.ask(question("hi")).await;
    trial.end()?;
    let bytes = trial.requests.first().map_or(0, |request| request.body.len());
    let seen = format!("{bytes} bytes");
    if (1..=2000).contains(&bytes) { Ok(seen) } else { Err(seen) }
}
