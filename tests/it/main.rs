//! The one integration binary: the program as its clients and the CLI see it.
//!
//! Tests that start the real Claude Code CLI belong into `real_cli` or `conversations`, those that run clients behind it into
//! `python`, `node` and `opencode`: `.config/nextest.toml` knows them by these names, and runs fewer of them at a time.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod access;
// These, `tenants` and `warm` look at processes in /proc.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod account;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod binary;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod canaries;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod connections;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod conversations;
#[cfg(test)]
mod demo;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod faults;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod healthcheck;
#[cfg(test)]
mod http;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod limits;
#[cfg(test)]
mod log;
#[cfg(test)]
mod login;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod node;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod opencode;
#[cfg(test)]
#[cfg(feature = "otel")]
mod otel;
#[cfg(test)]
mod parameters;
#[cfg(test)]
mod python;
#[cfg(test)]
mod real_cli;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod support;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tenants;
#[cfg(test)]
mod tidy;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod warm;
