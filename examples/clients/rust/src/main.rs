//! Enqueues one task and prints the state in which the broker has it.

use std::env;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use tonic::transport::Channel;

/// The stubs: a module for each package of the contract.
pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}
pub mod dibs {
    pub mod v1 {
        tonic::include_proto!("dibs.v1");
    }
}

use dibs::v1::broker_service_client::BrokerServiceClient;
use dibs::v1::{Content, EnqueueItem, EnqueueRequest, ItemState, QueueKind, ResultRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let target = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7411".to_owned());
    let channel = Channel::from_shared(format!("http://{target}"))?.connect().await?;
    let mut broker = BrokerServiceClient::new(channel);

    // An id of our own, and one for the request: so the call may be made again when its reply is lost.
    let id = format!("rust-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    let item = EnqueueItem {
        id: id.clone(),
        queue: "greetings".to_owned(),
        kind: QueueKind::Task as i32,
        content: Some(Content {
            task_name: "greet".to_owned(),
            payload: br#"{"args":["Ada"]}"#.to_vec(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = EnqueueRequest { request_id: id.clone(), items: vec![item], ..Default::default() };
    broker.enqueue(request).await?;

    let request = ResultRequest { ids: vec![id.clone()], ..Default::default() };
    let reply = broker.result(request).await?.into_inner();
    println!("{} {}", reply.results[0].id, ItemState::try_from(reply.results[0].state)?.as_str_name());
    Ok(())
}
