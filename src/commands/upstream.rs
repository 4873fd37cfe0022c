//! `couplet upstream`: the scripted Messages API, for trials by hand.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use couplet::upstream::Upstream;
use tokio::net::TcpListener;

use super::{in_runtime, shutdown_signal};

/// Arguments of `couplet upstream`.
#[derive(Debug, clap::Args)]
pub struct UpstreamArguments {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Runs the API until it is asked to end; its address is the command's output.
pub fn run(arguments: &UpstreamArguments) -> ExitCode {
    in_runtime(serve(arguments.port))
}

#[expect(clippy::print_stdout, reason = "the address is the command's output")]
async fn serve(port: u16) -> std::io::Result<()> {
    let upstream = Upstream::start(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?)?;
    println!("{}", upstream.base_url());
    shutdown_signal()?.await;
    upstream.shutdown().await;
    Ok(())
}
