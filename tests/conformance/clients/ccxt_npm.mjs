// ccxt from npm: coins and contracts.
import ccxt from 'ccxt';

const { URL: base, KEY, SECRET } = process.env;
const sockets = base.replace('http', 'ws');
const tell = (call, error) => console.log(JSON.stringify({ call, ok: !error, why: error ? String(error).slice(0, 300) : '' }));
const within = (promise) => Promise.race([promise, new Promise((_, no) => setTimeout(() => no(new Error('silence')), 20000))]);
async function tried(call, act) {
    try {
        const answer = await within(act());
        if (!answer || answer.length === 0) throw new Error('an empty answer');
        tell(call);
        return answer;
    } catch (error) {
        tell(call, error);
    }
}

function made(name, type) {
    const client = new ccxt.pro[name]({ apiKey: KEY, secret: SECRET, options: { fetchMarkets: { types: [type] } } });
    const paths = {
        public: 'api/v3', private: 'api/v3', v1: 'api/v1', sapi: 'sapi/v1', fapiPublic: 'fapi/v1', fapiPublicV2: 'fapi/v2',
        fapiPublicV3: 'fapi/v3', fapiPrivate: 'fapi/v1', fapiPrivateV2: 'fapi/v2', fapiPrivateV3: 'fapi/v3',
        fapiData: 'futures/data', dapiPublic: 'dapi/v1', dapiPrivate: 'dapi/v1',
    };
    client.urls.api = Object.fromEntries(Object.entries(paths).map(([key, path]) => [key, `${base}/${path}`]));
    client.urls.api.ws = {
        spot: `${sockets}/stream/ws`, margin: `${sockets}/stream/ws`, linear: `${sockets}/ws`, future: `${sockets}/ws`,
        inverse: `${sockets}/ws`, delivery: `${sockets}/ws`,
        'ws-api': { spot: `${sockets}/ws-api/v3`, linear: `${sockets}/ws-fapi/v1`, future: `${sockets}/ws-fapi/v1` },
    };
    return client;
}

const spot = made('binance', 'spot'), linear = made('binanceusdm', 'linear');
const [coin, perp] = ['GBM/USDT', 'SYN0/USDT:USDT'];
for (const client of [spot, linear]) await client.loadHttpProxyAgent();
await tried('markets', async () => (await spot.loadMarkets())[coin] && (await linear.loadMarkets())[perp]);
for (const client of [spot, linear]) await client.loadTimeDifference();
await tried('candles', async () => (await spot.fetchOHLCV(coin, '1h')).length && (await linear.fetchOHLCV(perp, '1h')));
await tried('book', async () => (await spot.fetchOrderBook(coin)).bids.length && (await linear.fetchOrderBook(perp)).bids);
const mine = await tried('place', async () => [
    await spot.createOrder(coin, 'limit', 'buy', 1, 50), await linear.createOrder(perp, 'limit', 'buy', 1, 80),
]);
await tried('query', async () => (await spot.fetchOrder(mine[0].id, coin)).status === 'open'
    && (await linear.fetchOpenOrders(perp)).length === 1);
await tried('cancel', async () => (await spot.cancelOrder(mine[0].id, coin)).status === 'canceled'
    && (await linear.cancelOrder(mine[1].id, perp)).status === 'canceled');
await tried('balances', async () => (await spot.fetchBalance()).USDT.total && (await linear.fetchBalance()).USDT.total);
await linear.createOrder(perp, 'market', 'buy', 1);
await tried('positions', async () => (await linear.fetchPositions([perp]))[0].contracts === 1);
await tried('streams', async () => (await spot.watchTrades(coin)).length && (await linear.watchOHLCV(perp, '1m'))
    && (await linear.watchTickers()));
await tried('user stream', async () => {
    const waits = [spot.watchOrders(coin), linear.watchOrders(perp)];
    setTimeout(() => spot.createOrder(coin, 'market', 'buy', 1), 2000);
    setTimeout(() => linear.createOrder(perp, 'market', 'buy', 1), 2500);
    return Promise.all(waits);
});
await spot.close();
await linear.close();
process.exit(0);
