//! Makes the stubs of the contract; `protoc` must be on the path.

use std::io::Result;
use std::path::Path;

fn main() -> Result<()> {
    let contract = Path::new("../../../proto");
    let files = ["admin", "broker", "lock", "types"].map(|name| contract.join(format!("dibs/v1/{name}.proto")));
    tonic_prost_build::configure().build_server(false).compile_protos(&files, &[contract.to_path_buf()])
}
