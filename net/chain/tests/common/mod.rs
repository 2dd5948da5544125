//! What the tests share: a contract that counts, keys, and chains to run on.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod node;
pub mod proxy;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::{
    network::{TransactionBuilder as _, TransactionResponse as _},
    primitives::{Address, Bytes},
    providers::{DynProvider, Provider as _},
    rpc::types::TransactionRequest,
    sol,
};
use glacier_chain::{Chain, Embedded, Genesis, OperatorKey, Remote};
use zeroize::Zeroizing;

sol! {
    #[derive(Debug)]
    #[sol(rpc)]
    contract Counter {
        event Added(address indexed by, uint256 indexed item, uint256 total);
        error Refused(uint256 item);
        function total() external view returns (uint256);
        function times(uint256 item) external view returns (uint256);
        function add(uint256 item) external payable;
        function addOnce(uint256 item) external;
        function refuse(uint256 item) external pure;
        function refuseInWords() external pure;
        function p256(bytes calldata input) external view returns (bytes memory output);
        function surroundings() external view returns (uint256 chain, uint256 number, uint256 time, bytes32 parent);
    }
}

/// Counter.sol, compiled with solc 0.8.37 for osaka, optimised, without metadata.
pub fn counter_code() -> Bytes {
    include_str!("Counter.hex").trim().parse().unwrap()
}

/// A key for tests; anvil funds none of them by itself.
pub fn key(number: u8) -> OperatorKey {
    OperatorKey::from_bytes(&Zeroizing::new([number; 32])).unwrap()
}

pub fn genesis() -> Genesis {
    Genesis::funding([key(1).address(), key(2).address()])
}

pub fn embedded(folder: &Path) -> Embedded {
    Embedded::open(&folder.join("chain"), &genesis()).unwrap()
}

pub fn client() -> reqwest::Client {
    // reqwest has no provider of its own here; a second installation is refused, and no harm.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub async fn deploy(provider: &DynProvider) -> Address {
    let sent = provider.send_transaction(TransactionRequest::default().with_deploy_code(counter_code())).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    let asked = provider.get_transaction_by_hash(receipt.transaction_hash).await.unwrap().unwrap();
    assert_eq!(asked.tx_hash(), receipt.transaction_hash);
    receipt.contract_address.unwrap()
}

/// A running anvil, ended when dropped.
pub struct Anvil {
    child: Child,
    pub port: u16,
}

impl Anvil {
    pub const CHAIN_ID: u64 = 31337;

    /// None, and a line that says so, where there is no anvil.
    pub async fn start(arguments: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: no anvil");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["--port", &port.to_string(), "--silent"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let anvil = Self { child, port };
        for _ in 0..400 {
            if let Ok(chain) = Chain::connect(&anvil.remote()).await {
                for number in [1, 2] {
                    let wei = format!("{:#x}", 10u128.pow(24));
                    chain
                        .provider()
                        .raw_request::<_, ()>("anvil_setBalance".into(), (key(number).address(), wei))
                        .await
                        .unwrap();
                }
                return Some(anvil);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("anvil does not answer");
    }

    pub fn remote(&self) -> Remote {
        remote(self.port)
    }
}

/// An anvil on this port.
pub fn remote(port: u16) -> Remote {
    let mut remote = Remote::new(format!("http://127.0.0.1:{port}").parse().unwrap(), Anvil::CHAIN_ID);
    (remote.confirmations, remote.attempts, remote.poll) = (1, 1, Duration::from_millis(20));
    remote
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn program() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/node_modules/.bin/anvil");
    let named = std::env::var_os("ANVIL").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let anywhere = std::env::split_paths(&path).map(|folder| folder.join("anvil"));
    named.into_iter().chain([installed]).chain(anywhere).find(|program| program.is_file())
}
