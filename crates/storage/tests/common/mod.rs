//! What the tests share: files, QEMU's tools, a way to wait.
#![allow(dead_code)] // each test uses its own part

pub mod crash;
pub mod files;
pub mod full;
pub mod model;
pub mod slow;

use std::process::Command;
use std::task::{Context, Poll, Waker};

/// The end of a future that needs nobody else.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits, and there is nobody to wait for"),
    }
}

/// Runs `qemu-img`, which must succeed; its output.
pub fn qemu_img(args: &[&str]) -> String {
    let out = Command::new("qemu-img").args(args).output().expect("qemu-img is needed: package qemu-utils");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "qemu-img {args:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
    text
}
