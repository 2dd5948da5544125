//! The same suite over the embedded chain and over anvil: what an alloy provider does must not differ.

mod common;

use alloy::{
    eips::BlockNumberOrTag,
    network::TransactionBuilder as _,
    primitives::{Bytes, U256, keccak256},
    providers::Provider as _,
    rpc::types::{Filter, TransactionRequest},
    sol_types::SolEvent as _,
};
use common::{Anvil, Counter, deploy, embedded, key};
use glacier_chain::Chain;
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};

#[tokio::test]
async fn on_the_embedded_chain() {
    let dir = tempfile::tempdir().unwrap();
    let chain = Chain::embedded(embedded(dir.path()));
    let gas = suite(&chain).await;
    if let Some(anvil) = Anvil::start(&[]).await {
        let other = suite(&Chain::connect(&anvil.remote()).await.unwrap()).await;
        assert_eq!(gas, other, "gas differs from anvil's");
    }
}

/// Returns the gas that each transaction used.
async fn suite(chain: &Chain) -> Vec<u64> {
    let mut gas = Vec::new();
    let provider = chain.signing(key(1).wallet());
    let owner = key(1).address();
    assert_eq!(provider.get_chain_id().await.unwrap(), chain.id());
    let start = provider.get_block_number().await.unwrap();
    let nonce = provider.get_transaction_count(owner).await.unwrap();
    let address = deploy(&provider).await;
    assert_eq!(address, owner.create(nonce));
    assert!(!provider.get_code_at(address).await.unwrap().is_empty());
    let counter = Counter::new(address, provider.clone());

    // Transactions, nonces and fees filled in, in order and one after the other without waiting.
    let mut sent = Vec::new();
    for item in [7u64, 8, 7] {
        sent.push(counter.add(U256::from(item)).value(U256::from(5)).send().await.unwrap());
    }
    let mut blocks = Vec::new();
    for sent in sent {
        let receipt = sent.get_receipt().await.unwrap();
        assert!(receipt.status());
        assert_eq!((receipt.from, receipt.to), (owner, Some(address)));
        assert_eq!(receipt.logs().len(), 1);
        gas.push(receipt.gas_used);
        blocks.push(receipt.block_number.unwrap());
    }
    assert!(blocks.is_sorted());
    assert_eq!(counter.total().call().await.unwrap(), U256::from(3));
    assert_eq!(counter.times(U256::from(7)).call().await.unwrap(), U256::from(2));
    assert_eq!(provider.get_balance(address).await.unwrap(), U256::from(15));
    assert_eq!(provider.get_storage_at(address, U256::ZERO).await.unwrap(), U256::from(3));
    assert_eq!(provider.get_transaction_count(owner).await.unwrap(), nonce + 4);

    // Logs by address, by topic, by event, and of nobody.
    let all = Filter::new().from_block(start).to_block(BlockNumberOrTag::Latest);
    let logs = provider.get_logs(&all.clone().address(address)).await.unwrap();
    assert_eq!(logs.len(), 3);
    let totals: Vec<u64> =
        logs.iter().map(|log| log.log_decode::<Counter::Added>().unwrap().inner.total.to()).collect();
    assert_eq!(totals, [1, 2, 3]);
    let sevens = all.clone().event_signature(Counter::Added::SIGNATURE_HASH).topic2(U256::from(7));
    assert_eq!(provider.get_logs(&sevens).await.unwrap().len(), 2);
    assert_eq!(provider.get_logs(&all.clone().address(owner)).await.unwrap().len(), 0);
    let one = Filter::new().at_block_hash(logs[0].block_hash.unwrap());
    assert_eq!(provider.get_logs(&one).await.unwrap(), logs[..1]);
    assert_eq!(counter.Added_filter().from_block(start).query().await.unwrap().len(), 3);

    // Reverts, with their data, from calls and estimates.
    let refused = counter.refuse(U256::from(9)).call().await.unwrap_err();
    let data = refused.as_decoded_error::<Counter::Refused>().unwrap();
    assert_eq!(data.item, U256::from(9));
    let words = counter.refuseInWords().send().await.unwrap_err();
    assert!(words.to_string().contains("execution reverted"), "{words}");
    // A transaction that is sent all the same is mined as failed, and its nonce is used.
    let failed = counter.refuse(U256::from(9)).gas(100_000).send().await.unwrap().get_receipt().await.unwrap();
    assert!(!failed.status());
    gas.push(failed.gas_used);

    // Osaka: P-256 answers at 0x100.
    let signer = SigningKey::from_slice(&[3; 32]).unwrap();
    let digest = keccak256(b"signed");
    let signature: Signature = signer.sign_prehash(digest.as_slice()).unwrap();
    let point = signer.verifying_key().to_sec1_point(false);
    let mut input = [digest.as_slice(), &signature.to_bytes(), &point.as_bytes()[1..]].concat();
    assert_eq!(counter.p256(Bytes::from(input.clone())).call().await.unwrap(), U256::ONE.to_be_bytes_vec());
    input[0] ^= 1;
    assert_eq!(counter.p256(Bytes::from(input)).call().await.unwrap(), Bytes::new());

    // Blocks, by number and hash, with their transactions in full; each knows its parent.
    let head = provider.get_block_by_number(BlockNumberOrTag::Latest).full().await.unwrap().unwrap();
    assert_eq!(head.header.hash, head.header.inner.hash_slow());
    let same = provider.get_block_by_hash(head.header.hash).full().await.unwrap().unwrap();
    assert_eq!(same, head);
    assert_eq!(head.transactions.len(), 1);
    assert_eq!(*head.transactions.as_transactions().unwrap()[0].inner.tx_hash(), failed.transaction_hash);
    let parent = provider.get_block_by_number((head.header.number - 1).into()).await.unwrap().unwrap();
    assert_eq!(parent.header.hash, head.header.parent_hash);
    assert!(parent.header.timestamp <= head.header.timestamp);
    assert_eq!(provider.get_block_by_number((head.header.number + 1).into()).await.unwrap(), None);
    let receipts = provider.get_block_receipts(head.header.number.into()).await.unwrap().unwrap();
    assert_eq!(receipts, [failed]);

    // A plain transfer costs what it costs everywhere.
    let transfer = TransactionRequest::default().with_to(key(9).address()).with_value(U256::from(1));
    assert_eq!(provider.estimate_gas(transfer.clone().with_from(owner)).await.unwrap(), 21_000);
    let receipt = provider.send_transaction(transfer).await.unwrap().get_receipt().await.unwrap();
    gas.push(receipt.gas_used);
    assert_eq!(provider.get_transaction_receipt(keccak256("none")).await.unwrap(), None);
    assert_eq!(provider.get_transaction_by_hash(keccak256("none")).await.unwrap(), None);

    // What nobody answers is refused by the standard code.
    let unknown = provider.raw_request::<_, ()>("eth_nothing".into(), ()).await.unwrap_err();
    assert_eq!(unknown.as_error_resp().unwrap().code, -32601);
    let broken = provider.raw_request::<_, U256>("eth_getBalance".into(), ["no address"]).await.unwrap_err();
    assert_eq!(broken.as_error_resp().unwrap().code, -32602);
    gas
}
