// Enqueues one task and prints the state in which the broker has it.
import { credentials, type ServiceError } from "@grpc/grpc-js";

import { BrokerServiceClient, EnqueueRequest, ResultRequest, type ResultResponse } from "./gen/dibs/v1/broker.js";
import { itemStateToJSON, QueueKind } from "./gen/dibs/v1/types.js";

type Answer<T> = (error: ServiceError | null, reply: T) => void;

/** A call of grpc-js as a promise. */
function called<T>(call: (answer: Answer<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => call((error, reply) => (error ? reject(error) : resolve(reply))));
}

const broker = new BrokerServiceClient(process.argv[2] ?? "127.0.0.1:7411", credentials.createInsecure());

// An id of our own, and one for the request: so the call may be made again when its reply is lost.
const id = `ts-${process.pid}-${Date.now()}`;
const request = EnqueueRequest.fromPartial({
  requestId: id,
  items: [
    {
      id,
      queue: "greetings",
      kind: QueueKind.QUEUE_KIND_TASK,
      content: { taskName: "greet", payload: Buffer.from(JSON.stringify({ args: ["Ada"] })) },
    },
  ],
});
await called((answer) => broker.enqueue(request, answer));

const reply = await called<ResultResponse>((answer) => broker.result(ResultRequest.fromPartial({ ids: [id] }), answer));
for (const { id, state } of reply.results) console.log(id, itemStateToJSON(state));
broker.close();
